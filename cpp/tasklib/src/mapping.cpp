#include "mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "tasklib/error.h"

namespace tasklib::detail {

void throw_errno(const char *what, const std::string &path) {
  throw TaskError(std::string(what) + " " + path + ": " + std::generic_category().message(errno));
}

int open_file(const std::string &path, bool to_write) {
  const int fd = open(path.c_str(), (to_write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (fd < 0) throw_errno("cannot open", path);
  struct stat status {};
  if (to_write && fstat(fd, &status) == 0 && (status.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0) {
    close(fd);
    errno = EACCES;
    throw_errno("cannot open to write", path);
  }
  return fd;
}

FileMapping::FileMapping(const std::string &path, Access access) {
  const bool writes = access == Access::write;
  const int fd = open_file(path, writes);
  struct stat status {};
  void *mapped = nullptr;
  const bool known = fstat(fd, &status) == 0;
  if (known && status.st_size > 0) {
    size_ = static_cast<std::size_t>(status.st_size);
    mapped = mmap(nullptr, size_, writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  }
  const int error = errno;
  close(fd);
  if (!known || mapped == MAP_FAILED) {
    errno = error;
    throw_errno("cannot map", path);
  }
  data_ = static_cast<char *>(mapped);
}

FileMapping::~FileMapping() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace tasklib::detail
