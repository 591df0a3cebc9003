/// Data objects: what tasks read and make.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tasklib/error.h"
#include "tasklib/span.h"

namespace tasklib {

namespace detail {
class Writer;
class Workspace;
class FileMapping;
struct InputMessage;

/// Copies of contents at aligned addresses, one for each content and alignment. Each stays as long as this object.
class AlignedCopies {
 public:
  /// The copy of `content` at a multiple of `alignment`, made at the first call. Several threads may call this.
  std::string_view get(std::string_view content, std::size_t alignment);
  void clear();

 private:
  struct Copy {
    const char *content;
    std::size_t alignment;
    std::unique_ptr<std::byte[]> memory;
    std::string_view aligned;
  };

  std::mutex mutex_;
  std::vector<Copy> copies_;
};

}  // namespace detail

enum class DataType : std::uint8_t { blob = 0, directory = 1 };

/// A blob or a directory. Inputs are instances that can be read; an instance given to `outputs` becomes a data object.
/// An input given to `outputs` is passed on as it is, without a copy: `outputs.push_back(std::move(inputs[0]))`.
///
/// Several threads of a task may call the const members of one instance at the same time. The others, and those of
/// Outputs, need a lock of the task's own when another thread uses the same object.
class DataInstance {
 public:
  DataInstance(const DataInstance &) = delete;
  DataInstance &operator=(const DataInstance &) = delete;
  virtual ~DataInstance() = default;

  DataType data_type() const { return data_type_; }
  bool is_directory() const { return data_type_ == DataType::directory; }

  /// The content of a blob without a copy. All views of an input are good until the task has ended, also when the
  /// input was moved to the outputs; views of another instance are good as long as the instance.
  virtual std::string_view view() const = 0;

  /// The content of a blob as values of type T; good as long as view(). Nothing is copied but a small content that is
  /// not aligned for T, once.
  template <class T>
  span<const T> view_as() const {
    static_assert(std::is_trivially_copyable_v<T>, "only types that are plain bytes can be viewed");
    static_assert(alignof(T) <= 4096, "files are mapped at multiples of 4096 bytes");
    const std::string_view bytes = aligned_view(alignof(T), sizeof(T));
    return span<const T>(reinterpret_cast<const T *>(bytes.data()), bytes.size() / sizeof(T));
  }

  /// The content of a blob, copied.
  std::string read_as_string() const { return std::string(view()); }

  /// Where the content is in the file system. That of an input must only be read; a small blob is written there first.
  virtual std::filesystem::path path() const = 0;

  /// Bytes of a blob; for a directory that is an input, the sum of its files.
  virtual std::size_t size() const { return view().size(); }

  /// Empty if there is none.
  const std::string &content_type() const { return content_type_; }
  DataInstance &set_content_type(std::string content_type);

  /// `info.user` of the object, the text of a JSON object; empty if there is none.
  const std::string &user() const { return user_; }
  /// Throws a TaskError if this is not a JSON object (is_json_object()).
  DataInstance &set_user(std::string json);

 protected:
  explicit DataInstance(DataType data_type, std::string content_type = {})
      : data_type_(data_type), content_type_(std::move(content_type)) {}

 private:
  friend class detail::Workspace;

  std::string_view aligned_view(std::size_t alignment, std::size_t size) const;
  /// Where copies for aligned_view() are kept as long as views of this instance have to be good.
  virtual detail::AlignedCopies &aligned_copies() const { return aligned_copies_; }
  virtual void write_source(detail::Writer &writer, detail::Workspace &workspace) = 0;

  DataType data_type_;
  bool attributes_set_ = false;
  std::string content_type_;
  std::string user_;
  mutable detail::AlignedCopies aligned_copies_;

 protected:
  /// Whether content type or user were set by the task.
  bool attributes_set() const { return attributes_set_; }
  void give_attributes(std::string_view content_type, std::string_view user) {
    content_type_ = content_type;
    user_ = user;
  }
};

using DataInstancePtr = std::unique_ptr<DataInstance>;

/// A blob in memory.
class MemDataInstance : public DataInstance {
 public:
  explicit MemDataInstance(std::string content, std::string content_type = {})
      : DataInstance(DataType::blob, std::move(content_type)), content_(std::move(content)) {}
  MemDataInstance(const void *data, std::size_t size, std::string content_type = {})
      : MemDataInstance(std::string(static_cast<const char *>(data), size), std::move(content_type)) {}
  /// The bytes of the values, as the machine has them.
  template <class T>
  explicit MemDataInstance(const std::vector<T> &values, std::string content_type = {})
      : MemDataInstance(values.data(), values.size() * sizeof(T), std::move(content_type)) {
    static_assert(std::is_trivially_copyable_v<T>, "only types that are plain bytes can be stored");
  }

  std::string_view view() const override { return content_; }
  /// Content in memory has no path.
  [[noreturn]] std::filesystem::path path() const override;

 private:
  void write_source(detail::Writer &writer, detail::Workspace &workspace) override;

  std::string content_;
};

/// A blob in a file of the working directory, which is moved away when it becomes an output; the path of an input passes
/// that input on and leaves its file alone. A file elsewhere is an error of the task when it becomes an output, as it is
/// nobody's to take: copy it to Context::new_path() first. A relative path begins at the working directory.
class FileDataInstance : public DataInstance {
 public:
  /// An existing file.
  explicit FileDataInstance(std::filesystem::path path, std::string content_type = {});
  ~FileDataInstance() override;

  std::string_view view() const override;
  std::filesystem::path path() const override { return path_; }
  std::size_t size() const override;

  /// The content to be written in place: the file itself, mapped into memory.
  span<std::byte> writable() const;
  /// The same as values of type T.
  template <class T>
  span<T> writable_as() const {
    static_assert(std::is_trivially_copyable_v<T>, "only types that are plain bytes can be written");
    const span<std::byte> bytes = writable();
    return span<T>(reinterpret_cast<T *>(bytes.data()), bytes.size() / sizeof(T));
  }
  /// Gives the file another size; views taken before are not valid any more.
  void resize(std::size_t size);

 private:
  void write_source(detail::Writer &writer, detail::Workspace &workspace) override;

  std::filesystem::path path_;
  mutable std::mutex mutex_;
  /// For view() and for writable(), so that looking at a file needs no right to write it.
  mutable std::unique_ptr<detail::FileMapping> read_mapping_;
  mutable std::unique_ptr<detail::FileMapping> write_mapping_;
};

/// A directory; what becomes of it as an output is as with FileDataInstance.
class DirectoryDataInstance : public DataInstance {
 public:
  /// An existing directory.
  explicit DirectoryDataInstance(std::filesystem::path path);

  [[noreturn]] std::string_view view() const override;
  std::filesystem::path path() const override { return path_; }
  [[noreturn]] std::size_t size() const override;

 private:
  void write_source(detail::Writer &writer, detail::Workspace &workspace) override;

  std::filesystem::path path_;
};

/// An input of a task.
class InputDataInstance final : public DataInstance {
 public:
  InputDataInstance(const detail::InputMessage &message, std::uint32_t number, std::string_view label,
                    detail::Workspace &workspace);

  std::string_view view() const override;
  std::filesystem::path path() const override;
  std::size_t size() const override { return size_; }

  /// The input's label, if the client gave it one.
  const std::string &label() const { return label_; }
  /// The number of the data object in its session.
  std::uint32_t object_id() const { return object_id_; }

 private:
  detail::AlignedCopies &aligned_copies() const override;
  void write_source(detail::Writer &writer, detail::Workspace &workspace) override;

  std::uint32_t number_;
  std::uint32_t object_id_;
  std::size_t size_;
  std::string label_;
  std::optional<std::string_view> inline_content_;
  std::string path_;
  detail::Workspace &workspace_;
};

/// The inputs of a task, by number or by label.
class Inputs {
 public:
  using Pointer = std::unique_ptr<InputDataInstance>;

  std::size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  /// An input that is not there is a TaskError.
  Pointer &operator[](std::size_t number);
  Pointer &operator[](std::string_view label);
  auto begin() { return items_.begin(); }
  auto end() { return items_.end(); }

 private:
  friend class Executor;

  std::vector<Pointer> items_;
  /// The list stays, so that a label is found of an input that was moved away.
  const std::vector<std::string> *labels_ = nullptr;
};

/// What is declared of an output.
struct OutputSpec {
  std::string label;
  DataType data_type = DataType::blob;
  /// Empty if there is none.
  std::string content_type;
};

/// The outputs of a task: pushed one after the other, or put at their number or label. References to places stay good.
class Outputs {
 public:
  /// How many there are so far.
  std::size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  void push_back(DataInstancePtr instance) { items_.push_back(std::move(instance)); }
  /// The place of an output, by number or label; empty until something is put there. One that is not declared is a
  /// TaskError.
  DataInstancePtr &operator[](std::size_t number);
  DataInstancePtr &operator[](std::string_view label);
  /// What the client declared.
  const std::vector<OutputSpec> &declared() const { return *declared_; }
  auto begin() { return items_.begin(); }
  auto end() { return items_.end(); }

 private:
  friend class Executor;

  /// A deque, as references to its elements stay good when it grows.
  std::deque<DataInstancePtr> items_;
  const std::vector<OutputSpec> *declared_ = nullptr;
};

}  // namespace tasklib
