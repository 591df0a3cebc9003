/// Files in memory.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tasklib::detail {

/// Opens an existing file to read it or to write it, too; throws a TaskError. What nobody has the right to write is not
/// opened for that by root either: inputs are such files.
int open_file(const std::string &path, bool to_write);

/// A whole file, mapped. Throws a TaskError if that cannot be done.
class FileMapping {
 public:
  enum class Access { read, write };

  FileMapping(const std::string &path, Access access);
  ~FileMapping();
  FileMapping(const FileMapping &) = delete;
  FileMapping &operator=(const FileMapping &) = delete;

  char *data() const { return data_; }
  std::size_t size() const { return size_; }
  std::string_view view() const { return std::string_view(data_, size_); }

 private:
  char *data_ = nullptr;
  std::size_t size_ = 0;
};

/// A TaskError for `errno` about a path.
[[noreturn]] void throw_errno(const char *what, const std::string &path);

}  // namespace tasklib::detail
