/// The little JSON that attributes need: Rain passes them as text, use any JSON library to read or make it.
#pragma once

#include <string>
#include <string_view>

namespace tasklib {

/// Whether `text` is one JSON value that every reader takes: no numbers beyond the range of a double (1e999), no halves
/// of surrogate pairs ("\\ud800"), at most 127 lists and objects in each other.
bool is_json(std::string_view text);

/// Whether `text` is such a value, and an object: what attributes have to be.
bool is_json_object(std::string_view text);

/// `text` as a JSON string, quotes included.
std::string json_quote(std::string_view text);

}  // namespace tasklib
