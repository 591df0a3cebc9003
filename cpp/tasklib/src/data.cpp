#include "tasklib/data.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "attributes.h"
#include "mapping.h"
#include "messages.h"
#include "msgpack.h"
#include "workspace.h"

namespace tasklib {

namespace fs = std::filesystem;

namespace {

void write_attributes(detail::Writer &writer, const DataInstance &instance) {
  writer.text_or_nil(instance.content_type());
  writer.text_or_nil(instance.user());
}

}  // namespace

namespace detail {

std::string_view AlignedCopies::get(std::string_view content, std::size_t alignment) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const Copy &copy : copies_) {
    if (copy.content == content.data() && copy.alignment == alignment) return copy.aligned;
  }
  std::size_t space = content.size() + alignment;
  auto memory = std::make_unique<std::byte[]>(space);
  void *aligned = memory.get();
  std::align(alignment, content.size(), aligned, space);
  std::memcpy(aligned, content.data(), content.size());
  const std::string_view view(static_cast<const char *>(aligned), content.size());
  copies_.push_back({content.data(), alignment, std::move(memory), view});
  return view;
}

void AlignedCopies::clear() {
  const std::lock_guard<std::mutex> lock(mutex_);
  copies_.clear();
}

}  // namespace detail

DataInstance &DataInstance::set_content_type(std::string content_type) {
  content_type_ = std::move(content_type);
  attributes_set_ = true;
  return *this;
}

DataInstance &DataInstance::set_user(std::string json) {
  detail::check_attributes(json);
  user_ = std::move(json);
  attributes_set_ = true;
  return *this;
}

std::string_view DataInstance::aligned_view(std::size_t alignment, std::size_t size) const {
  const std::string_view bytes = view();
  if (bytes.size() % size != 0) {
    throw TaskError("a blob of " + std::to_string(bytes.size()) + " bytes does not hold whole values of " +
                    std::to_string(size) + " bytes");
  }
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignment == 0) return bytes;
  return aligned_copies().get(bytes, alignment);
}

fs::path MemDataInstance::path() const { throw TaskError("a blob in memory has no path"); }

void MemDataInstance::write_source(detail::Writer &writer, detail::Workspace &workspace) {
  workspace.write_content(writer, content_);
  write_attributes(writer, *this);
}

FileDataInstance::FileDataInstance(fs::path path, std::string content_type)
    : DataInstance(DataType::blob, std::move(content_type)), path_(fs::absolute(path)) {
  if (!fs::is_regular_file(path_)) throw TaskError("there is no file " + path.string());
}

FileDataInstance::~FileDataInstance() = default;

std::string_view FileDataInstance::view() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!read_mapping_) {
    read_mapping_ = std::make_unique<detail::FileMapping>(path_.string(), detail::FileMapping::Access::read);
  }
  return read_mapping_->view();
}

std::size_t FileDataInstance::size() const { return fs::file_size(path_); }

span<std::byte> FileDataInstance::writable() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!write_mapping_) {
    write_mapping_ = std::make_unique<detail::FileMapping>(path_.string(), detail::FileMapping::Access::write);
  }
  return span<std::byte>(reinterpret_cast<std::byte *>(write_mapping_->data()), write_mapping_->size());
}

void FileDataInstance::resize(std::size_t size) {
  read_mapping_.reset();
  write_mapping_.reset();
  const int fd = detail::open_file(path_.string(), true);
  int error = ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : errno;
  // With its space allotted now, a full file system is an error here, not the end of the process at a write.
  if (error == 0 && size > 0) error = posix_fallocate(fd, 0, static_cast<off_t>(size));
  close(fd);
  errno = error;
  if (error != 0) detail::throw_errno("no space for", path_.string());
}

void FileDataInstance::write_source(detail::Writer &writer, detail::Workspace &workspace) {
  read_mapping_.reset();
  write_mapping_.reset();
  workspace.write_path(writer, path_);
  write_attributes(writer, *this);
}

DirectoryDataInstance::DirectoryDataInstance(fs::path path)
    : DataInstance(DataType::directory), path_(fs::absolute(path)) {
  // A slash at the end would leave an empty name.
  if (!path_.has_filename()) path_ = path_.parent_path();
  if (!fs::is_directory(path_)) throw TaskError("there is no directory " + path.string());
}

std::string_view DirectoryDataInstance::view() const { throw TaskError("a directory cannot be read as a blob"); }

std::size_t DirectoryDataInstance::size() const { throw TaskError("the size of a new directory is not known"); }

void DirectoryDataInstance::write_source(detail::Writer &writer, detail::Workspace &workspace) {
  workspace.write_path(writer, path_);
  write_attributes(writer, *this);
}

InputDataInstance::InputDataInstance(const detail::InputMessage &message, std::uint32_t number,
                                     std::string_view label, detail::Workspace &workspace)
    : DataInstance(message.data_type),
      number_(number),
      object_id_(message.object_id),
      size_(static_cast<std::size_t>(message.size)),
      label_(label),
      inline_content_(message.content),
      path_(message.path),
      workspace_(workspace) {
  give_attributes(message.content_type, message.user);
}

std::string_view InputDataInstance::view() const {
  if (inline_content_) return *inline_content_;
  if (is_directory()) {
    throw TaskError("input " + std::to_string(number_) + " is a directory, which cannot be read as a blob");
  }
  return workspace_.map_input(path_, object_id_);
}

fs::path InputDataInstance::path() const {
  return inline_content_ ? workspace_.input_file(number_, *inline_content_) : path_;
}

detail::AlignedCopies &InputDataInstance::aligned_copies() const { return workspace_.aligned_copies(); }

void InputDataInstance::write_source(detail::Writer &writer, detail::Workspace &) {
  writer.uint(number_);
  if (attributes_set()) return write_attributes(writer, *this);
  writer.nil();
  writer.nil();
}

Inputs::Pointer &Inputs::operator[](std::size_t number) {
  if (number < items_.size()) return items_[number];
  throw TaskError("there is no input " + std::to_string(number) + ": the task was given " +
                  std::to_string(items_.size()));
}

Inputs::Pointer &Inputs::operator[](std::string_view label) {
  for (std::size_t number = 0; number < labels_->size() && number < items_.size(); ++number) {
    if ((*labels_)[number] == label) return items_[number];
  }
  throw TaskError("there is no input with the label \"" + std::string(label) + "\"");
}

DataInstancePtr &Outputs::operator[](std::size_t number) {
  if (number >= declared_->size()) {
    throw TaskError("there is no output " + std::to_string(number) + ": " + std::to_string(declared_->size()) +
                    " are declared");
  }
  if (number >= items_.size()) items_.resize(number + 1);
  return items_[number];
}

DataInstancePtr &Outputs::operator[](std::string_view label) {
  for (std::size_t number = 0; number < declared_->size(); ++number) {
    if ((*declared_)[number].label == label) return (*this)[number];
  }
  throw TaskError("there is no output with the label \"" + std::string(label) + "\"");
}

}  // namespace tasklib
