/// The part of MessagePack that the executor protocol uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tasklib::detail {

/// What came is not what the protocol has.
class ProtocolError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads values one after the other from bytes that it does not own.
class Reader {
 public:
  enum class Type { nil, boolean, integer, real, text, binary, array, map, unsupported };

  explicit Reader(std::string_view bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool at_end() const { return at_ == end_; }
  Type peek() const;
  /// Takes a nil, if the next value is one.
  bool take_nil();
  bool read_bool();
  std::uint64_t read_uint();
  /// For a negative number; others come from read_uint().
  std::int64_t read_negative();
  bool is_negative() const;
  double read_real();
  std::string_view read_text();
  std::string_view read_binary();
  /// The number of elements, which follow.
  std::size_t read_array();
  /// The number of pairs, which follow.
  std::size_t read_map();
  void skip(unsigned depth = 0);
  std::uint32_t read_u32();

 private:
  std::uint8_t byte() const;
  std::uint64_t take_number(std::size_t size);
  std::string_view take(std::size_t size);
  /// A length of `size` bytes after the type byte.
  std::size_t take_length(std::size_t size);

  const char *at_;
  const char *end_;
};

/// Appends values to a string, each in its shortest encoding. Throws a TaskError for what is longer than 32 bits can say.
class Writer {
 public:
  explicit Writer(std::string &to) : to_(to) {}

  void nil() { to_.push_back('\xc0'); }
  void boolean(bool value) { to_.push_back(value ? '\xc3' : '\xc2'); }
  void uint(std::uint64_t value);
  void negative(std::int64_t value);
  void real(double value);
  /// Text has to be UTF-8; what is not becomes U+FFFD.
  void text(std::string_view text);
  void text_or_nil(std::string_view value);
  void binary(std::string_view bytes);
  void array(std::size_t size);
  void map(std::size_t size);

 private:
  void number(std::uint8_t type, std::uint64_t value, std::size_t size);

  std::string &to_;
};

/// `text` with each byte that does not belong to UTF-8 replaced by U+FFFD.
std::string to_utf8(std::string_view text);
/// How many bytes of `text` from the start are whole UTF-8.
std::size_t utf8_prefix(std::string_view text);

}  // namespace tasklib::detail
