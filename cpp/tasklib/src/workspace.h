/// The executor's private directory, and the files of the inputs that are in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mapping.h"
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

  /// Between these, a call runs. What was made in it and did not become an output is removed.
  void begin_call(std::uint32_t session_id, const char *task_type);
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
  /// Makes a file or directory that the task has somewhere an output: its path inside of the directory, moved there if
  /// need be.
  std::string take(const std::filesystem::path &path);

  /// The content of an input's file; stays in memory as long as calls use it.
  std::string_view map_input(const std::string &path, std::uint32_t object_id);
  /// Lets go of inputs that are still in memory.
  void forget_inputs();

  /// Source, content type and user attributes of an output.
  void write_output(Writer &writer, DataInstance &instance);
  /// Whether content of this size may be in the answer itself; counts it.
  bool goes_inline(std::size_t size);

 private:
  struct Input {
    std::string path;
    std::uint32_t session_id;
    std::uint32_t object_id;
    std::uint64_t used_in_call;
    std::unique_ptr<FileMapping> mapping;
  };
  void drop_inputs(bool (*stays)(const Input &, std::uint64_t), std::uint64_t call);

  std::string make_path();
  void make_file(const std::string &path, std::string_view content, unsigned mode);

  const std::string directory_;
  std::mutex mutex_;
  std::uint64_t paths_ = 0;
  std::uint64_t calls_ = 0;
  std::uint32_t session_id_ = 0;
  std::size_t inline_bytes_ = 0;
  bool mapped_in_call_ = false;
  /// Paths that were given out in this call, and whether they became outputs.
  std::unordered_map<std::string, bool> made_;
  std::unordered_map<std::uint32_t, std::string> input_files_;
  AlignedCopies aligned_copies_;
  std::vector<Input> inputs_;
};

}  // namespace tasklib::detail
