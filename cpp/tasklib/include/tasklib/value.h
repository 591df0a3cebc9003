/// Values of a task's configuration, as the client gave them to `Task(config=...)`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tasklib {

/// A MessagePack value. Reading it as what it is not throws a TaskError that says so.
class Value {
 public:
  using List = std::vector<Value>;
  /// In the order of the client.
  using Map = std::vector<std::pair<Value, Value>>;
  /// Bytes, where a std::string is text.
  struct Binary {
    std::string bytes;
    bool operator==(const Binary &other) const { return bytes == other.bytes; }
  };
  using Content = std::variant<std::monostate, bool, std::uint64_t, std::int64_t, double, std::string, Binary, List, Map>;

  Value() = default;
  Value(Content content) : content_(std::move(content)) {}

  /// Reads the one value that `bytes` hold; throws a TaskError if they are not exactly that, or have lists and maps with
  /// more than 16,777,216 elements in all.
  static Value decode(std::string_view bytes);
  /// The value in its shortest encoding.
  std::string encode() const;

  bool is_nil() const { return std::holds_alternative<std::monostate>(content_); }
  bool as_bool() const;
  std::int64_t as_int() const;
  std::uint64_t as_uint() const;
  /// A number, whole or not.
  double as_double() const;
  /// Text or bytes.
  const std::string &as_string() const;
  const List &as_list() const;
  const Map &as_map() const;

  /// Number of elements of a list or map.
  std::size_t size() const;
  /// An element of a list.
  const Value &operator[](std::size_t index) const;
  /// The value of a key of a map; it has to be there.
  const Value &operator[](std::string_view key) const;
  /// The value of a key of a map, or nullptr.
  const Value *find(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }

  /// What this is, for messages: "a list", "text".
  const char *kind() const;
  const Content &content() const { return content_; }
  bool operator==(const Value &other) const { return content_ == other.content_; }

 private:
  template <class T>
  const T &get(const char *wanted) const;

  Content content_;
};

}  // namespace tasklib
