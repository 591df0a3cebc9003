/// Reads and writes the golden frames: argument 1 is the folder tests/golden.
#include <fstream>
#include <map>
#include <sstream>

#include "check.h"
#include "messages.h"
#include "msgpack.h"
#include "notation.h"

using namespace tasklib;
using namespace tasklib::detail;

namespace {

std::string folder;

std::string read_file(const std::string &name) {
  std::ifstream file(folder + "/" + name, std::ios::binary);
  CHECK(file.good());
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

/// The body of a frame, whose length is checked.
std::string body(const std::string &name) {
  const std::string frame = read_file(name);
  std::string again;
  const std::size_t start = begin_frame(again);
  again += frame.substr(4);
  end_frame(again, start);
  CHECK(again == frame);
  return frame.substr(4);
}

void all_frames_are_as_the_index_says() {
  std::istringstream index(read_file("index.tsv"));
  std::size_t count = 0;
  for (std::string line; std::getline(index, line); ++count) {
    std::vector<std::string> columns;
    std::istringstream row(line);
    for (std::string column; std::getline(row, column, '\t');) columns.push_back(column);
    CHECK_EQUAL(columns.size(), 4u);
    const std::string bytes = body(columns[0]);
    const Value value = Value::decode(bytes);
    CHECK_EQUAL(notation(value), columns[3]);
    CHECK(value.encode() == bytes);
  }
  CHECK(count >= 12);
}

void frames_of_governors_are_read() {
  const auto define = std::get<DefineMessage>(decode_from_governor(body("define-full.bin")));
  CHECK_EQUAL(define.kind_id, 4294967297u);
  CHECK_EQUAL(define.kind.type, "example1/filter");
  CHECK_EQUAL(define.kind.cpus, 4u);
  CHECK_EQUAL(define.kind.name, "images/filter");
  CHECK(define.kind.input_labels == (std::vector<std::string>{"image", "masks"}));
  CHECK_EQUAL(define.kind.outputs.size(), 2u);
  CHECK_EQUAL(define.kind.outputs[0].content_type, "json");
  CHECK(define.kind.outputs[1].data_type == DataType::directory);
  const Value config = Value::decode(define.kind.config);
  CHECK_EQUAL(config["sigma"].as_double(), 1.5);
  CHECK_EQUAL(config["steps"][0].as_int(), -1);
  CHECK_EQUAL(config["steps"][1].as_uint(), 300u);
  CHECK_EQUAL(config["name"].as_string(), "ř");

  const auto small = std::get<DefineMessage>(decode_from_governor(body("define.bin")));
  CHECK_EQUAL(small.kind.outputs[0].label, "output");
  CHECK(small.kind.config.empty() && small.kind.input_labels.empty());

  const auto forget = std::get<ForgetMessage>(decode_from_governor(body("forget.bin")));
  CHECK(forget.kind_ids == (std::vector<std::uint64_t>{4294967296, 4294967297}));

  const std::string inline_bytes = body("call.bin");
  const auto call = std::get<CallMessage>(decode_from_governor(inline_bytes));
  CHECK(call.call_id == 3 && call.kind_id == 4294967296 && call.session_id == 1 && call.task_id == 3);
  CHECK(!call.config && call.user.empty() && call.first_output_id == 20);
  CHECK_EQUAL(*call.inputs[0].content, "World");
  CHECK_EQUAL(call.inputs[0].object_id, 17u);

  const std::string full_bytes = body("call-full.bin");
  const auto full = std::get<CallMessage>(decode_from_governor(full_bytes, call));
  CHECK_EQUAL(full.inputs.size(), 2u);
  CHECK(!full.inputs[0].content && full.inputs[1].data_type == DataType::directory);
  CHECK_EQUAL(full.inputs[0].path, "/rain/work/41");
  CHECK_EQUAL(full.inputs[0].content_type, "image/pgm");
  CHECK_EQUAL(full.inputs[0].user, "{\"taken\": \"today\"}");
  CHECK_EQUAL(full.inputs[1].size, 5000000000u);
  CHECK_EQUAL(full.user, "{\"mode\": 7}");
  CHECK(full.governor == 2 && full.first_output_id == 70001 && full.config.has_value());

  const std::string empty_bytes = body("call-empty.bin");
  const auto empty = std::get<CallMessage>(decode_from_governor(empty_bytes, full));
  CHECK(empty.inputs.empty() && !empty.config && empty.user.empty() && empty.governor == 0);

  // What a call leaves out is not that of the call before.
  std::string bare = "\x97\xa4" "call";
  for (const char byte : {7, 1}) bare += byte;
  bare += std::string("\x92\x01\x02\xc0\x90\x80", 6);
  const auto left_out = std::get<CallMessage>(decode_from_governor(bare, full));
  CHECK(left_out.call_id == 7 && left_out.kind_id == 1 && left_out.session_id == 1 && left_out.task_id == 2);
  CHECK(left_out.inputs.empty() && !left_out.config && left_out.user.empty());
  CHECK(left_out.governor == 0 && left_out.first_output_id == 0);
}

void frames_of_executors_are_written() {
  std::string frame;
  append_register(frame, "example1", 4242);
  CHECK(frame == read_file("register.bin"));

  frame.clear();
  append_fail(frame, 3, "example1/hello takes 1 input, but was given 2", {});
  CHECK(frame == read_file("fail.bin"));

  frame.clear();
  std::string long_message;
  for (int i = 0; i < 200; ++i) long_message += "ř";
  append_fail(frame, 70000, long_message, {"before", "{\"steps\": [1, 2]}"});
  CHECK(frame == read_file("fail-full.bin"));

  frame.clear();
  begin_frame(frame);
  append_done_head(frame, 70000, 3);
  Writer writer(frame);
  writer.array(3);
  writer.binary("{}");
  writer.text_or_nil("json");
  writer.text_or_nil("{\"kept\": true}");
  writer.array(3);
  writer.text("/rain/work/exec/out-1");
  writer.text_or_nil("");
  writer.text_or_nil("");
  writer.array(3);
  writer.uint(1);
  writer.nil();
  writer.nil();
  append_info(frame, {"first line\nsecond line", "{\"pixels\": 12}"});
  end_frame(frame, 0);
  CHECK(frame == read_file("done-full.bin"));

  frame.clear();
  begin_frame(frame);
  append_done_head(frame, 0, 0);
  append_info(frame, {});
  end_frame(frame, 0);
  CHECK(frame == read_file("done-empty.bin"));
}

void damaged_frames_are_refused() {
  for (const char *name : {"define-full.bin", "forget.bin", "call.bin", "call-full.bin"}) {
    const std::string good = body(name);
    for (std::size_t length = 0; length < good.size(); ++length) {
      CHECK_THROWS(ProtocolError, decode_from_governor(good.substr(0, length)), " ");
    }
    CHECK_THROWS(ProtocolError, decode_from_governor(good + "x"), "more after");
    // No byte of a frame may make the reader leave it; what it then says does not matter.
    for (std::size_t at = 0; at < good.size(); ++at) {
      for (const int byte : {0x00, 0x7f, 0x80, 0x9f, 0xbf, 0xc0, 0xc1, 0xc6, 0xcf, 0xd3, 0xdb, 0xdd, 0xdf, 0xff}) {
        std::string bad = good;
        bad[at] = static_cast<char>(byte);
        check::thrown<ProtocolError>([&] { decode_from_governor(bad); });
        check::thrown<TaskError>([&] { Value::decode(bad); });
      }
    }
  }
  CHECK_THROWS(ProtocolError, decode_from_governor("\x91\xa5start"), "unknown message start");
  CHECK_THROWS(TaskError, Value::decode(std::string(100000, '\x91')), "deeply");
}

}  // namespace

int main(int argc, char **argv) {
  CHECK_EQUAL(argc, 2);
  folder = argv[1];
  all_frames_are_as_the_index_says();
  frames_of_governors_are_read();
  frames_of_executors_are_written();
  damaged_frames_are_refused();
}
