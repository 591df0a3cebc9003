#include "tasklib/value.h"

#include "msgpack.h"
#include "tasklib/error.h"

namespace tasklib {

namespace {

constexpr unsigned kDepthMax = 64;

using detail::Reader;
using detail::Writer;

/// Elements of lists and maps together. A small message can hold very many, each of which takes 40 bytes.
constexpr std::size_t kElementsMax = std::size_t{1} << 24;

/// Takes `count` elements from what a value may still have.
std::size_t counted(std::size_t count, std::size_t &left) {
  if (count > left) {
    throw detail::ProtocolError("a MessagePack value has more than " + std::to_string(kElementsMax) +
                                " elements: large data are for inputs, or for bytes in one element");
  }
  left -= count;
  return count;
}

Value read(Reader &reader, unsigned depth, std::size_t &left) {
  if (depth > kDepthMax) throw detail::ProtocolError("a MessagePack value is nested too deeply");
  switch (reader.peek()) {
    case Reader::Type::nil: reader.take_nil(); return Value();
    case Reader::Type::boolean: return Value(Value::Content(reader.read_bool()));
    case Reader::Type::integer:
      return reader.is_negative() ? Value(Value::Content(reader.read_negative()))
                                  : Value(Value::Content(reader.read_uint()));
    case Reader::Type::real: return Value(Value::Content(reader.read_real()));
    case Reader::Type::text: return Value(Value::Content(std::string(reader.read_text())));
    case Reader::Type::binary: return Value(Value::Content(Value::Binary{std::string(reader.read_binary())}));
    case Reader::Type::array: {
      const std::size_t size = counted(reader.read_array(), left);
      Value::List list;
      list.reserve(size);
      for (std::size_t number = 0; number < size; ++number) list.push_back(read(reader, depth + 1, left));
      return Value(Value::Content(std::move(list)));
    }
    case Reader::Type::map: {
      const std::size_t size = counted(2 * reader.read_map(), left) / 2;
      Value::Map map;
      map.reserve(size);
      for (std::size_t number = 0; number < size; ++number) {
        Value key = read(reader, depth + 1, left);
        map.emplace_back(std::move(key), read(reader, depth + 1, left));
      }
      return Value(Value::Content(std::move(map)));
    }
    case Reader::Type::unsupported: break;
  }
  throw detail::ProtocolError("a MessagePack value has a type that is not supported");
}

struct Write {
  Writer &writer;

  void operator()(std::monostate) { writer.nil(); }
  void operator()(bool value) { writer.boolean(value); }
  void operator()(std::uint64_t value) { writer.uint(value); }
  void operator()(std::int64_t value) {
    value < 0 ? writer.negative(value) : writer.uint(static_cast<std::uint64_t>(value));
  }
  void operator()(double value) { writer.real(value); }
  void operator()(const std::string &value) { writer.text(value); }
  void operator()(const Value::Binary &value) { writer.binary(value.bytes); }
  void operator()(const Value::List &list) {
    writer.array(list.size());
    for (const Value &item : list) std::visit(*this, item.content());
  }
  void operator()(const Value::Map &map) {
    writer.map(map.size());
    for (const auto &[key, value] : map) {
      std::visit(*this, key.content());
      std::visit(*this, value.content());
    }
  }
};

std::string quoted(std::string_view key) { return "\"" + std::string(key) + "\""; }

}  // namespace

Value Value::decode(std::string_view bytes) {
  try {
    Reader reader(bytes);
    std::size_t left = kElementsMax;
    Value value = read(reader, 0, left);
    if (!reader.at_end()) throw detail::ProtocolError("there is more after a MessagePack value");
    return value;
  } catch (const detail::ProtocolError &error) {
    throw TaskError(error.what());
  }
}

std::string Value::encode() const {
  std::string bytes;
  Writer writer(bytes);
  std::visit(Write{writer}, content_);
  return bytes;
}

const char *Value::kind() const {
  static constexpr const char *kKinds[] = {"nil",        "true or false", "a whole number", "a whole number", "a number",
                                           "text",       "bytes",         "a list",         "a map"};
  return kKinds[content_.index()];
}

template <class T>
const T &Value::get(const char *wanted) const {
  if (const T *value = std::get_if<T>(&content_)) return *value;
  throw TaskError(std::string("a value of the configuration is ") + kind() + ", not " + wanted);
}

bool Value::as_bool() const { return get<bool>("true or false"); }

std::int64_t Value::as_int() const {
  if (const auto *value = std::get_if<std::int64_t>(&content_)) return *value;
  const std::uint64_t value = get<std::uint64_t>("a whole number");
  if (value > INT64_MAX) throw TaskError("a value of the configuration is too large for 64 bits with a sign");
  return static_cast<std::int64_t>(value);
}

std::uint64_t Value::as_uint() const {
  if (const auto *value = std::get_if<std::int64_t>(&content_)) {
    if (*value < 0) throw TaskError("a value of the configuration is negative");
    return static_cast<std::uint64_t>(*value);
  }
  return get<std::uint64_t>("a whole number");
}

double Value::as_double() const {
  if (const auto *value = std::get_if<std::uint64_t>(&content_)) return static_cast<double>(*value);
  if (const auto *value = std::get_if<std::int64_t>(&content_)) return static_cast<double>(*value);
  return get<double>("a number");
}

const std::string &Value::as_string() const {
  if (const auto *value = std::get_if<Binary>(&content_)) return value->bytes;
  return get<std::string>("text or bytes");
}

const Value::List &Value::as_list() const { return get<List>("a list"); }
const Value::Map &Value::as_map() const { return get<Map>("a map"); }

std::size_t Value::size() const {
  if (const auto *map = std::get_if<Map>(&content_)) return map->size();
  return get<List>("a list or a map").size();
}

const Value &Value::operator[](std::size_t index) const {
  const List &list = as_list();
  if (index >= list.size()) {
    throw TaskError("a list of the configuration has " + std::to_string(list.size()) + " elements, none with number " +
                    std::to_string(index));
  }
  return list[index];
}

const Value &Value::operator[](std::string_view key) const {
  if (const Value *value = find(key)) return *value;
  throw TaskError("the configuration has no " + quoted(key));
}

const Value *Value::find(std::string_view key) const {
  for (const auto &[name, value] : as_map()) {
    const auto *text = std::get_if<std::string>(&name.content_);
    if (text != nullptr && *text == key) return &value;
  }
  return nullptr;
}

}  // namespace tasklib
