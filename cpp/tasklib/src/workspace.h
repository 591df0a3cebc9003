/// The executor's private directory, and the files of the inputs that are in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mapping.h"
#include "messages.h"
#include "msgpack.h"
#include "tasklib/data.h"

namespace tasklib::detail {

/// Threads of a task may call new_path(), write_file(), input_file(), aligned_copies() and map_input() at the same time;
/// the other members are for the thread that takes calls.
class Workspace {
 public:
  /// `directory` exists; links in its path are followed once, here.
  explicit Workspace(const std::filesystem::path &directory);
  ~Workspace();

  /// Between these, a call runs. What was made in it and did not become an output is removed. `call` and `task_type`,
  /// which may be nullptr, have to stay until the end.
  void begin_call(const CallMessage &call, const char *task_type);
  void end_call(bool outputs_were_taken);
  /// Lets go of inputs that the last call did not use, if it mapped others. That takes time: after the answer.
  void drop_old_inputs();

  /// A path that nothing has yet; removed after the call if it is not taken.
  std::string new_path();
  /// Writes a new file; returns its path.
  std::string write_file(std::string_view content);
  /// A file with the content of an input that came in the message, the same for the whole call; removed after it.
  std::string input_file(std::uint32_t number, std::string_view content);
  /// Copies of inputs of this call.
  AlignedCopies &aligned_copies() { return aligned_copies_; }
  /// The content of an input's file; stays in memory as long as calls use it.
  std::string_view map_input(const std::string &path, std::uint32_t object_id);
  /// Lets go of inputs that are still in memory.
  void forget_inputs();

  /// The source of an output from an existing file or directory: the number of an input if it is that input's, else its
  /// real path, which the governor moves away. Throws a TaskError if it is neither an input nor inside of the directory.
  void write_path(Writer &writer, const std::filesystem::path &path);
  /// The source of an output from memory.
  void write_content(Writer &writer, std::string_view content);
  /// Source, content type and user attributes of an output.
  void write_output(Writer &writer, DataInstance &instance);
 private:
  struct Input {
    std::string path;
    std::uint32_t session_id;
    std::uint32_t object_id;
    std::uint64_t used_in_call;
    std::unique_ptr<FileMapping> mapping;
  };
  void drop_inputs(bool (*stays)(const Input &, std::uint64_t), std::uint64_t call);

  std::optional<std::uint32_t> input_at(const std::string &real_path);
  std::string make_path();
  void make_file(const std::string &path, std::string_view content, unsigned mode);

  const std::string directory_;
  std::mutex mutex_;
  std::uint64_t paths_ = 0;
  std::uint64_t calls_ = 0;
  const CallMessage *call_ = nullptr;
  std::size_t inline_bytes_ = 0;
  bool mapped_in_call_ = false;
  /// Paths that were given out in this call, and whether they became outputs.
  std::unordered_map<std::string, bool> made_;
  std::unordered_map<std::uint32_t, std::string> input_files_;
  AlignedCopies aligned_copies_;
  /// The inputs of this call by their real paths, when an output has needed them.
  std::optional<std::unordered_map<std::string, std::uint32_t>> input_paths_;
  std::vector<Input> inputs_;
};

}  // namespace tasklib::detail
