/// Errors that tasks end with.
#pragma once

#include <stdexcept>

namespace tasklib {

/// Thrown by a task, it fails the task with just this message; other exceptions are shown with their type.
class TaskError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace tasklib
