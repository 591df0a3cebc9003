#include "msgpack.h"

#include <cstring>

#include "tasklib/error.h"

namespace tasklib::detail {

namespace {

constexpr unsigned kDepthMax = 64;

[[noreturn]] void wrong(const char *wanted) {
  throw ProtocolError(std::string("a MessagePack value is not ") + wanted);
}

/// The length of something that is written, if it fits into the 32 bits that there are for it.
std::uint32_t checked(std::size_t length) {
  if (length > UINT32_MAX) {
    throw TaskError(std::to_string(length) + " bytes or elements are more than one MessagePack value may have");
  }
  return static_cast<std::uint32_t>(length);
}

}  // namespace

std::uint8_t Reader::byte() const {
  if (at_ == end_) throw ProtocolError("a MessagePack value is cut off");
  return static_cast<std::uint8_t>(*at_);
}

std::string_view Reader::take(std::size_t size) {
  if (size > static_cast<std::size_t>(end_ - at_)) throw ProtocolError("a MessagePack value is cut off");
  const std::string_view taken(at_, size);
  at_ += size;
  return taken;
}

std::uint64_t Reader::take_number(std::size_t size) {
  std::uint64_t value = 0;
  for (const char c : take(size)) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

std::size_t Reader::take_length(std::size_t size) {
  ++at_;
  return static_cast<std::size_t>(take_number(size));
}

Reader::Type Reader::peek() const {
  const std::uint8_t b = byte();
  if (b <= 0x7f || b >= 0xe0) return Type::integer;
  if (b <= 0x8f) return Type::map;
  if (b <= 0x9f) return Type::array;
  if (b <= 0xbf) return Type::text;
  switch (b) {
    case 0xc0: return Type::nil;
    case 0xc2: case 0xc3: return Type::boolean;
    case 0xc4: case 0xc5: case 0xc6: return Type::binary;
    case 0xca: case 0xcb: return Type::real;
    case 0xd9: case 0xda: case 0xdb: return Type::text;
    case 0xdc: case 0xdd: return Type::array;
    case 0xde: case 0xdf: return Type::map;
    default: return b >= 0xcc && b <= 0xd3 ? Type::integer : Type::unsupported;
  }
}

bool Reader::take_nil() {
  if (byte() != 0xc0) return false;
  ++at_;
  return true;
}

bool Reader::read_bool() {
  if (peek() != Type::boolean) wrong("true or false");
  return static_cast<std::uint8_t>(*at_++) == 0xc3;
}

bool Reader::is_negative() const {
  const std::uint8_t b = byte();
  if (b >= 0xe0) return true;
  // The first byte of a signed number has its sign.
  return b >= 0xd0 && b <= 0xd3 && end_ - at_ > 1 && (static_cast<std::uint8_t>(at_[1]) & 0x80) != 0;
}

std::uint64_t Reader::read_uint() {
  const std::uint8_t b = byte();
  if (b <= 0x7f) {
    ++at_;
    return b;
  }
  if (((b >= 0xcc && b <= 0xcf) || (b >= 0xd0 && b <= 0xd3)) && !is_negative()) {
    ++at_;
    return take_number(std::size_t{1} << (b & 3));
  }
  wrong("an unsigned number");
}

std::int64_t Reader::read_negative() {
  const std::uint8_t b = byte();
  if (!is_negative()) wrong("a negative number");
  ++at_;
  if (b >= 0xe0) return static_cast<std::int8_t>(b);
  const std::size_t size = std::size_t{1} << (b & 3);
  std::uint64_t value = take_number(size);
  if (size < 8) value |= ~std::uint64_t{0} << (8 * size);
  return static_cast<std::int64_t>(value);
}

double Reader::read_real() {
  const std::uint8_t b = byte();
  if (b == 0xca) {
    ++at_;
    const auto bits = static_cast<std::uint32_t>(take_number(4));
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return static_cast<double>(value);
  }
  if (b != 0xcb) wrong("a floating point number");
  ++at_;
  const std::uint64_t bits = take_number(8);
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::string_view Reader::read_text() {
  const std::uint8_t b = byte();
  if (b >= 0xa0 && b <= 0xbf) {
    ++at_;
    return take(b & 0x1f);
  }
  if (b < 0xd9 || b > 0xdb) wrong("text");
  return take(take_length(std::size_t{1} << (b - 0xd9)));
}

std::string_view Reader::read_binary() {
  const std::uint8_t b = byte();
  if (b < 0xc4 || b > 0xc6) wrong("bytes");
  return take(take_length(std::size_t{1} << (b - 0xc4)));
}

std::size_t Reader::read_array() {
  const std::uint8_t b = byte();
  std::size_t size;
  if (b >= 0x90 && b <= 0x9f) {
    ++at_;
    size = b & 0x0f;
  } else if (b == 0xdc || b == 0xdd) {
    size = take_length(b == 0xdc ? 2 : 4);
  } else {
    wrong("a list");
  }
  // Each element has a byte at least, so nobody reserves memory for what cannot come.
  if (size > static_cast<std::size_t>(end_ - at_)) throw ProtocolError("a MessagePack value is cut off");
  return size;
}

std::size_t Reader::read_map() {
  const std::uint8_t b = byte();
  std::size_t size;
  if (b >= 0x80 && b <= 0x8f) {
    ++at_;
    size = b & 0x0f;
  } else if (b == 0xde || b == 0xdf) {
    size = take_length(b == 0xde ? 2 : 4);
  } else {
    wrong("a map");
  }
  if (size > static_cast<std::size_t>(end_ - at_) / 2) throw ProtocolError("a MessagePack value is cut off");
  return size;
}

std::uint32_t Reader::read_u32() {
  const std::uint64_t value = read_uint();
  if (value > UINT32_MAX) throw ProtocolError("a number of the protocol is too large");
  return static_cast<std::uint32_t>(value);
}

void Reader::skip(unsigned depth) {
  if (depth > kDepthMax) throw ProtocolError("a MessagePack value is nested too deeply");
  switch (peek()) {
    case Type::nil: ++at_; return;
    case Type::boolean: read_bool(); return;
    case Type::integer: is_negative() ? static_cast<void>(read_negative()) : static_cast<void>(read_uint()); return;
    case Type::real: read_real(); return;
    case Type::text: read_text(); return;
    case Type::binary: read_binary(); return;
    case Type::array:
      for (std::size_t left = read_array(); left > 0; --left) skip(depth + 1);
      return;
    case Type::map:
      for (std::size_t left = 2 * read_map(); left > 0; --left) skip(depth + 1);
      return;
    case Type::unsupported: wrong("of a type that the protocol uses");
  }
}

void Writer::number(std::uint8_t type, std::uint64_t value, std::size_t size) {
  to_.push_back(static_cast<char>(type));
  for (std::size_t left = size; left > 0; --left) to_.push_back(static_cast<char>(value >> (8 * (left - 1))));
}

void Writer::uint(std::uint64_t value) {
  if (value <= 0x7f) to_.push_back(static_cast<char>(value));
  else if (value <= UINT8_MAX) number(0xcc, value, 1);
  else if (value <= UINT16_MAX) number(0xcd, value, 2);
  else if (value <= UINT32_MAX) number(0xce, value, 4);
  else number(0xcf, value, 8);
}

void Writer::negative(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  if (value >= -32) to_.push_back(static_cast<char>(bits));
  else if (value >= INT8_MIN) number(0xd0, bits, 1);
  else if (value >= INT16_MIN) number(0xd1, bits, 2);
  else if (value >= INT32_MIN) number(0xd2, bits, 4);
  else number(0xd3, bits, 8);
}

void Writer::real(double value) {
  std::uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  number(0xcb, bits, 8);
}

void Writer::text(std::string_view text) {
  // Before so much is looked at.
  checked(text.size());
  if (utf8_prefix(text) != text.size()) return this->text(to_utf8(text));
  const std::size_t size = text.size();
  if (size <= 31) to_.push_back(static_cast<char>(0xa0 | size));
  else if (size <= UINT8_MAX) number(0xd9, size, 1);
  else if (size <= UINT16_MAX) number(0xda, size, 2);
  else number(0xdb, checked(size), 4);
  to_.append(text);
}

void Writer::text_or_nil(std::string_view value) { value.empty() ? nil() : text(value); }

void Writer::binary(std::string_view bytes) {
  const std::size_t size = bytes.size();
  if (size <= UINT8_MAX) number(0xc4, size, 1);
  else if (size <= UINT16_MAX) number(0xc5, size, 2);
  else number(0xc6, checked(size), 4);
  to_.append(bytes);
}

void Writer::array(std::size_t size) {
  if (size <= 15) to_.push_back(static_cast<char>(0x90 | size));
  else if (size <= UINT16_MAX) number(0xdc, size, 2);
  else number(0xdd, checked(size), 4);
}

void Writer::map(std::size_t size) {
  if (size <= 15) to_.push_back(static_cast<char>(0x80 | size));
  else if (size <= UINT16_MAX) number(0xde, size, 2);
  else number(0xdf, checked(size), 4);
}

std::size_t utf8_prefix(std::string_view text) {
  const auto *bytes = reinterpret_cast<const unsigned char *>(text.data());
  const std::size_t size = text.size();
  std::size_t at = 0;
  while (at < size) {
    const unsigned char lead = bytes[at];
    if (lead < 0x80) {
      ++at;
      continue;
    }
    std::size_t length;
    unsigned char low = 0x80, high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) {
      length = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      length = 3;
      // Neither overlong encodings nor surrogates.
      if (lead == 0xe0) low = 0xa0;
      if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      length = 4;
      if (lead == 0xf0) low = 0x90;
      if (lead == 0xf4) high = 0x8f;
    } else {
      return at;
    }
    if (length > size - at || bytes[at + 1] < low || bytes[at + 1] > high) return at;
    for (std::size_t next = 2; next < length; ++next) {
      if (bytes[at + next] < 0x80 || bytes[at + next] > 0xbf) return at;
    }
    at += length;
  }
  return at;
}

std::string to_utf8(std::string_view text) {
  std::string result;
  while (true) {
    const std::size_t good = utf8_prefix(text);
    result.append(text.substr(0, good));
    if (good == text.size()) return result;
    result.append("\xef\xbf\xbd");
    text.remove_prefix(good + 1);
  }
}

}  // namespace tasklib::detail
