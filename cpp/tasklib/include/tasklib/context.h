/// What a task is given beside its inputs and outputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tasklib/data.h"
#include "tasklib/value.h"

namespace tasklib {

namespace detail {
struct Kind;
struct CallMessage;
class Workspace;
}  // namespace detail

/// What the client asked for.
struct TaskSpec {
  std::uint32_t session_id = 0;
  std::uint32_t task_id = 0;
  /// EXECUTOR/METHOD
  std::string task_type;
  /// The name that the client gave it for people; may be empty.
  std::string name;
  std::uint32_t cpus = 1;
  /// `spec.user`, the text of a JSON object; empty if there is none.
  std::string user;
  std::vector<std::string> input_labels;
  std::vector<OutputSpec> outputs;
  /// The number of the first output object in its session; the others follow.
  std::uint32_t first_output_id = 0;
};

/// What is known of the execution.
struct TaskInfo {
  /// The number of the governor.
  std::uint32_t governor = 0;
  /// `info.user` for the client: set it to the text of a JSON object. The task fails at its end if it is anything else.
  std::string user;
};

/// The members but info() may be called by several threads of the task at the same time.
class Context {
 public:
  /// Made by the executor for each call.
  Context(const detail::CallMessage &call, const detail::Kind &kind, detail::Workspace &workspace);
  Context(const Context &) = delete;
  Context &operator=(const Context &) = delete;

  /// Whether the task was called with `count` inputs; else the task has an error that says so.
  bool check_n_args(std::size_t count);
  /// Whether the client declared `count` outputs; else the task has an error that says so.
  bool check_n_outputs(std::size_t count);

  /// Fails the task with this message, when its function has returned.
  void set_error(std::string message);
  bool has_error() const;

  /// The specification of the task.
  const TaskSpec &spec() const;
  /// What is known of the execution; set `info().user` to leave a JSON object for the client.
  TaskInfo &info() { return info_; }
  /// The configuration of the task: nil if the client gave none.
  const Value &config() const;

  /// Adds a line to the debug messages that the client can read: `ctx.debug("read ", n, " lines")`. A task may leave 1 MiB
  /// of them; a note at their end says when there were more.
  template <class... Parts>
  void debug(const Parts &...parts) {
    std::ostringstream line;
    (line << ... << parts);
    add_debug(line.str());
  }

  /// A new output file of this size, to be written in place and pushed to the outputs.
  std::unique_ptr<FileDataInstance> create_file(std::size_t size, std::string content_type = {});
  /// A new empty directory, to be filled and pushed to the outputs.
  std::unique_ptr<DirectoryDataInstance> create_directory();
  /// A path for a file or directory of this task; removed after the task unless it becomes an output.
  std::filesystem::path new_path();

 private:
  friend class Executor;

  void add_debug(std::string_view line);

  const detail::CallMessage &call_;
  const detail::Kind &kind_;
  detail::Workspace &workspace_;
  TaskInfo info_;
  mutable std::mutex mutex_;
  mutable std::optional<TaskSpec> spec_;
  mutable std::optional<Value> config_;
  std::optional<std::string> error_;
  std::optional<std::string> debug_;
  bool debug_is_full_ = false;
};

}  // namespace tasklib
