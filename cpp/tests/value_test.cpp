/// MessagePack values, JSON text, UTF-8.
#include <cstdint>
#include <limits>

#include "check.h"
#include "msgpack.h"
#include "tasklib/error.h"
#include "tasklib/json.h"
#include "tasklib/value.h"

using namespace tasklib;
using detail::to_utf8;
using detail::utf8_prefix;

namespace {

void numbers_are_read_as_they_were_written() {
  for (unsigned bit = 0; bit < 64; ++bit) {
    for (const std::uint64_t number : {std::uint64_t{1} << bit, (std::uint64_t{1} << bit) - 1}) {
      CHECK_EQUAL(Value::decode(Value(number).encode()).as_uint(), number);
      const auto negative = static_cast<std::int64_t>(~number);
      if (negative < 0) CHECK_EQUAL(Value::decode(Value(negative).encode()).as_int(), negative);
    }
  }
  CHECK_EQUAL(Value(std::int64_t{-32}).encode().size(), 1u);
  CHECK_EQUAL(Value(std::int64_t{-33}).encode().size(), 2u);
  CHECK_EQUAL(Value(std::int64_t{5}).encode().size(), 1u);
  // Signed encodings of positive numbers are read too.
  CHECK_EQUAL(Value::decode(std::string("\xd1\x01\x00", 3)).as_uint(), 256u);
  CHECK_EQUAL(Value::decode(std::string("\xca\x3f\x00\x00\x00", 5)).as_double(), 0.5);
  CHECK_EQUAL(Value::decode(Value(0.1).encode()).as_double(), 0.1);
  CHECK_THROWS(TaskError, Value(std::numeric_limits<std::uint64_t>::max()).as_int(), "too large");
  CHECK_THROWS(TaskError, Value(std::int64_t{-1}).as_uint(), "negative");
}

void lengths_are_read_as_they_were_written() {
  for (const std::size_t length : {0, 15, 16, 31, 32, 255, 256, 65535, 65536}) {
    CHECK_EQUAL(Value::decode(Value(std::string(length, 'x')).encode()).as_string().size(), length);
    CHECK_EQUAL(Value::decode(Value(Value::Binary{std::string(length, 'x')}).encode()).as_string().size(), length);
    CHECK_EQUAL(Value::decode(Value(Value::List(length)).encode()).size(), length);
    Value::Map map;
    for (std::size_t i = 0; i < length; ++i) map.emplace_back(Value(std::uint64_t{i}), Value(true));
    CHECK_EQUAL(Value::decode(Value(map).encode()).size(), length);
  }
}

void what_is_too_long_is_refused() {
  // The lengths alone: neither is looked at.
  const char byte = 'x';
  const std::size_t length = std::size_t{UINT32_MAX} + 1;
  std::string to;
  detail::Writer writer(to);
  CHECK_THROWS(TaskError, writer.text(std::string_view(&byte, length)), "4294967296 bytes or elements");
  CHECK_THROWS(TaskError, writer.binary(std::string_view(&byte, length)), "4294967296 bytes or elements");
  CHECK_THROWS(TaskError, writer.array(length), "4294967296 bytes or elements");
  CHECK_THROWS(TaskError, writer.map(length), "4294967296 bytes or elements");
  CHECK(to.empty());
  // Lists whose elements would take far more memory than their bytes; lists in lists are counted together.
  const std::string nils(std::size_t{1} << 25, '\xc0');
  const std::string nine("\xdd\x00\x90\x00\x00", 5);
  CHECK_THROWS(TaskError, Value::decode(std::string("\xdd\x01\x00\x00\x01", 5) + nils), "more than 16777216 elements");
  CHECK_THROWS(TaskError, Value::decode(std::string("\xdf\x00\x80\x00\x01", 5) + nils), "more than 16777216 elements");
  CHECK_THROWS(TaskError, Value::decode(nine + nine + nils), "more than 16777216 elements");
}

void values_say_what_they_are_not() {
  const Value map = Value(Value::Map{{Value(std::string("a")), Value(std::uint64_t{1})}});
  CHECK(map.contains("a") && !map.contains("b") && map == Value::decode(map.encode()));
  CHECK_EQUAL(map["a"].as_double(), 1.0);
  CHECK_THROWS(TaskError, map["b"], "has no \"b\"");
  CHECK_THROWS(TaskError, map["a"].as_string(), "a whole number, not text or bytes");
  CHECK_THROWS(TaskError, map[0], "a map, not a list");
  CHECK_THROWS(TaskError, Value(Value::List{})[0], "0 elements");
  CHECK_THROWS(TaskError, Value().as_bool(), "nil");
  CHECK(Value().is_nil() && Value(true).as_bool());
}

void json_is_checked() {
  for (const char *good : {"{}", "[]", " [1, -2.5e+3, 0, true, null, \"\\u00e9\\n\"] ", "{\"a\": {\"b\": []}}", "7", "\"ř\"",
                           "1e308", "-1.7976931348623157e308", "0e999", "0.0e-0", "1e-99999999999999999999", "\"\\uD83d\\uDe00\""}) {
    if (!is_json(good)) check::fail(__FILE__, __LINE__, good);
  }
  for (const char *bad : {"", "{", "[1,]", "{a: 1}", "{\"a\" 1}", "01", "1.", ".5", "1e", "\"", "\"\\x\"", "\"\\u12g4\"",
                          "[] []", "nul", "\"\n\"", "\"\xff\"", "-", "-01", "1e+", "0x1", "\"\\u12\"",
                          // What most readers of JSON do not take, though its grammar has it.
                          "1e999", "[-1e309]", "1.7976931348623159e308", "1e99999999999999999999", "\"\\ud800\"",
                          "\"\\udc00\\ud800\"", "\"\\ud800\\n\"", "\"\\ud800\\ud800\""}) {
    if (is_json(bad)) check::fail(__FILE__, __LINE__, bad);
  }
  CHECK(!is_json(std::string(100000, '[')));
  CHECK(is_json(std::string(127, '[') + std::string(127, ']')));
  CHECK(!is_json(std::string(128, '[') + std::string(128, ']')));
  // Long numbers: what counts is their size.
  CHECK(is_json("1" + std::string(308, '0')) && !is_json("1" + std::string(309, '0')));
  CHECK(is_json("0." + std::string(400, '0') + "1e700") && !is_json("0." + std::string(400, '0') + "1e710"));
  for (const char *object : {"{}", " \n{\"a\": [1]}", "{\"\": null}"}) {
    if (!is_json_object(object)) check::fail(__FILE__, __LINE__, object);
  }
  for (const char *other : {"", " ", "[1, 2]", "7", "\"{}\"", "null", "{", "{}{}", "{\"a\": 1e999}"}) {
    if (is_json_object(other)) check::fail(__FILE__, __LINE__, other);
  }
  CHECK_EQUAL(json_quote("a\"\\\n\t\r\x01ř"), "\"a\\\"\\\\\\n\\t\\r\\u0001ř\"");
  CHECK(is_json(json_quote("\xff\x00x")));
}

void text_becomes_utf8() {
  CHECK_EQUAL(to_utf8("Grüße €\xf0\x9f\x8c\xa7"), "Grüße €\xf0\x9f\x8c\xa7");
  CHECK_EQUAL(to_utf8("a\xfc" "b"), "a\xef\xbf\xbd" "b");
  // Cut off, overlong, surrogate, too high.
  for (const char *bad : {"\xe2\x82", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5", "\x80"}) {
    CHECK_EQUAL(utf8_prefix(bad), 0u);
  }
}

}  // namespace

int main() {
  numbers_are_read_as_they_were_written();
  lengths_are_read_as_they_were_written();
  what_is_too_long_is_refused();
  values_say_what_they_are_not();
  json_is_checked();
  text_becomes_utf8();
}
