/// The executor's private directory, and the files of the inputs that are in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mapping.h"
#include "msgpack.h"
#include "tasklib/data.h"

namespace tasklib::detail {

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
  struct Made {
    std::string path;
    bool taken;
  };

  void drop_inputs(bool (*stays)(const Input &, std::uint64_t), std::uint64_t call);

  std::string directory_;
  std::uint64_t paths_ = 0;
  std::uint64_t calls_ = 0;
  std::uint32_t session_id_ = 0;
  std::size_t inline_bytes_ = 0;
  bool mapped_in_call_ = false;
  std::vector<Made> made_;
  std::vector<Input> inputs_;
};

}  // namespace tasklib::detail
