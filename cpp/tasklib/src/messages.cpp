#include "messages.h"

#include <algorithm>

#include "msgpack.h"

namespace tasklib::detail {

namespace {

std::string_view text_or_empty(Reader &reader) { return reader.take_nil() ? std::string_view() : reader.read_text(); }

/// A list of `size` elements, no more and no fewer.
void expect_list(Reader &reader, std::size_t size, const char *what) {
  if (reader.read_array() != size) throw ProtocolError(std::string(what) + " has a wrong number of elements");
}

DataType read_data_type(Reader &reader) {
  const std::uint64_t code = reader.read_uint();
  if (code > 1) throw ProtocolError("a data type is neither blob nor directory");
  return static_cast<DataType>(code);
}

Kind read_kind(Reader &reader) {
  Kind kind;
  for (std::size_t left = reader.read_map(); left > 0; --left) {
    const std::string_view key = reader.read_text();
    if (key == "type") {
      kind.type = reader.read_text();
    } else if (key == "cpus") {
      kind.cpus = reader.read_u32();
    } else if (key == "name") {
      kind.name = reader.read_text();
    } else if (key == "config") {
      kind.config = reader.read_binary();
    } else if (key == "inputs") {
      for (std::size_t count = reader.read_array(); count > 0; --count) {
        kind.input_labels.emplace_back(reader.read_text());
      }
    } else if (key == "outputs") {
      for (std::size_t count = reader.read_array(); count > 0; --count) {
        expect_list(reader, 3, "an output of a kind");
        OutputSpec &output = kind.outputs.emplace_back();
        output.label = reader.read_text();
        output.data_type = read_data_type(reader);
        output.content_type = text_or_empty(reader);
      }
    } else {
      reader.skip();
    }
  }
  return kind;
}

InputMessage read_input(Reader &reader) {
  expect_list(reader, 6, "an input");
  InputMessage input;
  if (reader.peek() == Reader::Type::binary) {
    input.content = reader.read_binary();
  } else {
    input.path = reader.read_text();
  }
  input.content_type = text_or_empty(reader);
  input.data_type = read_data_type(reader);
  input.size = reader.read_uint();
  input.object_id = reader.read_u32();
  input.user = text_or_empty(reader);
  return input;
}

void read_call(Reader &reader, CallMessage &call) {
  call.call_id = reader.read_uint();
  call.kind_id = reader.read_uint();
  expect_list(reader, 2, "the number of a task");
  call.session_id = reader.read_u32();
  call.task_id = reader.read_u32();
  call.config.reset();
  if (!reader.take_nil()) call.config = reader.read_binary();
  call.inputs.clear();
  for (std::size_t left = reader.read_array(); left > 0; --left) call.inputs.push_back(read_input(reader));
  call.user = {};
  call.governor = 0;
  call.first_output_id = 0;
  for (std::size_t left = reader.read_map(); left > 0; --left) {
    const std::string_view key = reader.read_text();
    if (key == "user") call.user = text_or_empty(reader);
    else if (key == "governor") call.governor = reader.read_u32();
    else if (key == "outputs") call.first_output_id = reader.read_u32();
    else reader.skip();
  }
}

std::size_t entries(const AnswerInfo &info) {
  return std::size_t{!info.debug.empty()} + std::size_t{!info.user.empty()};
}

/// As many entries of a map as `entries` says.
void write_entries(Writer &writer, const AnswerInfo &info) {
  if (!info.debug.empty()) {
    writer.text("debug");
    writer.text(info.debug);
  }
  if (!info.user.empty()) {
    writer.text("user");
    writer.text(info.user);
  }
}

}  // namespace

FromGovernor decode_from_governor(std::string_view body, CallMessage call) {
  Reader reader(body);
  const std::size_t size = reader.read_array();
  const std::string_view operation = reader.read_text();
  const auto expect = [&](std::size_t wanted) {
    if (size != wanted) throw ProtocolError("a message has a wrong number of elements: " + std::string(operation));
  };
  FromGovernor message;
  if (operation == "call") {
    expect(7);
    read_call(reader, call);
    message = std::move(call);
  } else if (operation == "define") {
    expect(3);
    DefineMessage define;
    define.kind_id = reader.read_uint();
    define.kind = read_kind(reader);
    message = std::move(define);
  } else if (operation == "forget") {
    expect(2);
    ForgetMessage forget;
    for (std::size_t left = reader.read_array(); left > 0; --left) forget.kind_ids.push_back(reader.read_uint());
    message = std::move(forget);
  } else {
    throw ProtocolError("unknown message " + std::string(operation));
  }
  if (!reader.at_end()) throw ProtocolError("there is more after a message");
  return message;
}

std::size_t begin_frame(std::string &to) {
  const std::size_t start = to.size();
  to.append(kFrameHeadBytes, '\0');
  return start;
}

void end_frame(std::string &to, std::size_t start) {
  const std::size_t length = to.size() - start - kFrameHeadBytes;
  for (std::size_t byte = 0; byte < kFrameHeadBytes; ++byte) to[start + byte] = static_cast<char>(length >> (8 * byte));
}

void append_register(std::string &to, std::string_view name, std::uint32_t pid) {
  const std::size_t start = begin_frame(to);
  Writer writer(to);
  writer.array(2);
  writer.text("register");
  writer.map(3);
  writer.text("version");
  writer.uint(kProtocolVersion);
  writer.text("name");
  writer.text(name);
  writer.text("pid");
  writer.uint(pid);
  end_frame(to, start);
}

bool append_bounded(std::string &to, std::string_view text, std::string_view note) {
  const std::size_t left = kTextBytesMax - std::min(to.size(), kTextBytesMax);
  if (text.size() <= left) {
    to += text;
    return true;
  }
  std::size_t end = left;
  // Not within a character.
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  to.append(text.substr(0, end)).append(note);
  return false;
}

void append_fail(std::string &to, std::uint64_t call_id, std::string_view message, const AnswerInfo &info) {
  std::string shortened;
  if (message.size() > kTextBytesMax) {
    const std::string note = "\n[the rest is left out: the message had " + std::to_string(message.size()) + " bytes]";
    append_bounded(shortened, message, note);
    message = shortened;
  }
  const std::size_t start = begin_frame(to);
  Writer writer(to);
  writer.array(3);
  writer.text("fail");
  writer.uint(call_id);
  writer.map(1 + entries(info));
  writer.text("message");
  writer.text(message);
  write_entries(writer, info);
  end_frame(to, start);
}

void append_done_head(std::string &to, std::uint64_t call_id, std::size_t count) {
  Writer writer(to);
  writer.array(4);
  writer.text("done");
  writer.uint(call_id);
  writer.array(count);
}

void append_info(std::string &to, const AnswerInfo &info) {
  Writer writer(to);
  writer.map(entries(info));
  write_entries(writer, info);
}

}  // namespace tasklib::detail
