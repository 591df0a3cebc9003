/// `user` attributes of tasks and objects.
#pragma once

#include <string_view>

namespace tasklib::detail {

/// Throws a TaskError that says why, if `json` is not the text of an object that every reader of JSON takes.
void check_attributes(std::string_view json);

}  // namespace tasklib::detail
