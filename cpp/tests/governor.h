/// The governor's end of an executor's socket, for tests: serve() runs in a thread of the test.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "connection.h"
#include "messages.h"
#include "tasklib/executor.h"

/// Short ways to write messages.
namespace say {

using tasklib::Value;

inline Value text(std::string value) { return Value(Value::Content(std::move(value))); }
inline Value text_or_nil(const std::string &value) { return value.empty() ? Value() : text(value); }
inline Value bytes(std::string value) { return Value(Value::Content(Value::Binary{std::move(value)})); }
inline Value number(std::uint64_t value) { return Value(Value::Content(value)); }
inline Value list(Value::List values) { return Value(Value::Content(std::move(values))); }
inline Value map(std::vector<std::pair<std::string, Value>> pairs) {
  Value::Map map;
  for (auto &[key, value] : pairs) map.emplace_back(text(key), std::move(value));
  return Value(Value::Content(std::move(map)));
}

}  // namespace say

/// An input of a call: content in the message, or a path.
struct GivenInput {
  std::string content = {};
  std::string path = {};
  std::string content_type = {};
  std::string user = {};
  bool directory = false;
  std::size_t size = 0;
  std::uint64_t object_id = 17;
};

inline GivenInput file_input(const std::filesystem::path &path, std::size_t size, std::uint64_t object_id = 17) {
  GivenInput input;
  input.path = path;
  input.size = size;
  input.object_id = object_id;
  return input;
}

inline GivenInput directory_input(const std::filesystem::path &path, std::size_t size = 0, std::uint64_t object_id = 17) {
  GivenInput input = file_input(path, size, object_id);
  input.directory = true;
  return input;
}

class Governor {
 public:
  explicit Governor(tasklib::Executor &executor) : connection_(make_socket()) {
    char name[] = "/tmp/tasklib-test-XXXXXX";
    CHECK(mkdtemp(name) != nullptr);
    directory_ = name;
    thread_ = std::thread([this, &executor] {
      try {
        executor.serve(theirs_, directory_);
      } catch (const std::exception &error) {
        error_ = error.what();
      }
      close(theirs_);
    });
    register_ = receive();
  }

  ~Governor() {
    finish();
    std::filesystem::remove_all(directory_);
  }

  /// Closes the socket and waits for the executor; what serve() threw.
  std::string finish() {
    if (thread_.joinable()) {
      shutdown(ours_, SHUT_RDWR);
      thread_.join();
      close(ours_);
    }
    return error_;
  }

  void send(const tasklib::Value &message) { connection_.send(frame(message)); }
  void send_bytes(const std::string &bytes) { connection_.send(bytes); }

  static std::string frame(const tasklib::Value &message) {
    std::string bytes;
    const std::size_t start = tasklib::detail::begin_frame(bytes);
    bytes += message.encode();
    tasklib::detail::end_frame(bytes, start);
    return bytes;
  }

  tasklib::Value receive() {
    const auto body = connection_.receive();
    CHECK(body.has_value());
    return tasklib::Value::decode(*body);
  }

  /// Declares outputs as label, data type and content type; returns the kind's id.
  std::uint64_t define(const std::string &type, std::vector<tasklib::OutputSpec> outputs = {{"output", {}, ""}},
                       std::vector<std::string> labels = {}, std::string config = {}) {
    tasklib::Value::List specs, names;
    for (auto &output : outputs) {
      specs.push_back(say::list({say::text(output.label), say::number(output.data_type == tasklib::DataType::directory),
                                 say::text_or_nil(output.content_type)}));
    }
    for (auto &label : labels) names.push_back(say::text(label));
    send(say::list({say::text("define"), say::number(++kinds_),
                    say::map({{"type", say::text(type)},
                              {"cpus", say::number(2)},
                              {"name", say::text("a/name")},
                              {"config", say::bytes(std::move(config))},
                              {"inputs", say::list(names)},
                              {"outputs", say::list(specs)},
                              {"of a later version", say::list({say::number(1)})}})}));
    return kinds_;
  }

  tasklib::Value call_message(std::uint64_t kind, const std::vector<GivenInput> &inputs, tasklib::Value config = {},
                              const std::string &user = {}) {
    tasklib::Value::List given;
    for (const GivenInput &input : inputs) {
      given.push_back(say::list({input.path.empty() ? say::bytes(input.content) : say::text(input.path),
                                 say::text_or_nil(input.content_type), say::number(input.directory),
                                 say::number(input.path.empty() ? input.content.size() : input.size),
                                 say::number(input.object_id), say::text_or_nil(input.user)}));
    }
    std::vector<std::pair<std::string, tasklib::Value>> extra;
    if (!user.empty()) extra.emplace_back("user", say::text(user));
    extra.emplace_back("governor", say::number(6));
    extra.emplace_back("outputs", say::number(30));
    return say::list({say::text("call"), say::number(++calls_), say::number(kind),
                      say::list({say::number(4), say::number(40)}),
                      config.is_nil() ? tasklib::Value() : say::bytes(config.encode()), say::list(given),
                      say::map(std::move(extra))});
  }

  /// The answer to a call.
  tasklib::Value call(std::uint64_t kind, const std::vector<GivenInput> &inputs = {}, tasklib::Value config = {},
                      const std::string &user = {}) {
    send(call_message(kind, inputs, std::move(config), user));
    tasklib::Value answer = receive();
    CHECK_EQUAL(answer[1].as_uint(), calls_);
    return answer;
  }

  /// The outputs of a call that has to succeed.
  tasklib::Value outputs(std::uint64_t kind, const std::vector<GivenInput> &inputs = {}, tasklib::Value config = {}) {
    tasklib::Value answer = call(kind, inputs, std::move(config));
    if (answer[0].as_string() != "done") check::fail(__FILE__, __LINE__, answer[2]["message"].as_string());
    return answer[2];
  }

  /// The message of a call that has to fail.
  std::string failure(std::uint64_t kind, const std::vector<GivenInput> &inputs = {}, tasklib::Value config = {}) {
    const tasklib::Value answer = call(kind, inputs, std::move(config));
    CHECK_EQUAL(answer[0].as_string(), "fail");
    return answer[2]["message"].as_string();
  }

  const tasklib::Value &registered() const { return register_; }
  const std::filesystem::path &directory() const { return directory_; }
  std::size_t files() const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto &entry : std::filesystem::directory_iterator(directory_)) ++count;
    return count;
  }

 private:
  int make_socket() {
    int sockets[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    ours_ = sockets[0];
    theirs_ = sockets[1];
    return ours_;
  }

  int ours_ = -1;
  int theirs_ = -1;
  tasklib::detail::Connection connection_;
  std::filesystem::path directory_;
  std::thread thread_;
  std::string error_;
  tasklib::Value register_;
  std::uint64_t kinds_ = 0;
  std::uint64_t calls_ = 0;
};
