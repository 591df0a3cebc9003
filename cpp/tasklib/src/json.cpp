#include "tasklib/json.h"

#include <cstdio>

#include "msgpack.h"

namespace tasklib {

namespace {

/// Follows the grammar of RFC 8259; each function takes what it is named for and says whether it was there.
class Checker {
 public:
  explicit Checker(std::string_view text) : rest_(text) {}

  bool whole() {
    if (!value(0)) return false;
    space();
    return rest_.empty();
  }

 private:
  static constexpr unsigned kDepthMax = 512;

  void space() {
    const std::size_t past = rest_.find_first_not_of(" \t\r\n");
    rest_.remove_prefix(past == std::string_view::npos ? rest_.size() : past);
  }

  bool take(std::string_view word) {
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  bool token(char c) {
    space();
    return take(std::string_view(&c, 1));
  }

  bool value(unsigned depth) {
    if (depth > kDepthMax) return false;
    space();
    if (rest_.empty()) return false;
    switch (rest_.front()) {
      case '{': return members('}', depth, true);
      case '[': return members(']', depth, false);
      case '"': return text();
      case 't': return take("true");
      case 'f': return take("false");
      case 'n': return take("null");
      default: return number();
    }
  }

  bool members(char end, unsigned depth, bool named) {
    rest_.remove_prefix(1);
    if (token(end)) return true;
    do {
      if (named) {
        space();
        if (!text() || !token(':')) return false;
      }
      if (!value(depth + 1)) return false;
    } while (token(','));
    return token(end);
  }

  bool text() {
    if (!take("\"")) return false;
    while (!rest_.empty()) {
      const auto c = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      if (c == '"') return true;
      if (c < 0x20) return false;
      if (c != '\\') continue;
      if (rest_.empty()) return false;
      const char escape = rest_.front();
      rest_.remove_prefix(1);
      if (escape == 'u') {
        if (rest_.substr(0, 4).find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos ||
            rest_.size() < 4) {
          return false;
        }
        rest_.remove_prefix(4);
      } else if (std::string_view("\"\\/bfnrt").find(escape) == std::string_view::npos) {
        return false;
      }
    }
    return false;
  }

  bool digits() {
    const std::size_t past = rest_.find_first_not_of("0123456789");
    const std::size_t count = past == std::string_view::npos ? rest_.size() : past;
    rest_.remove_prefix(count);
    return count > 0;
  }

  bool number() {
    take("-");
    if (!take("0") && !digits()) return false;
    if (take(".") && !digits()) return false;
    if (take("e") || take("E")) {
      if (!take("+")) take("-");
      return digits();
    }
    return true;
  }

  std::string_view rest_;
};

}  // namespace

bool is_json(std::string_view text) {
  return detail::utf8_prefix(text) == text.size() && Checker(text).whole();
}

std::string json_quote(std::string_view text) {
  std::string result = "\"";
  for (const char c : detail::to_utf8(text)) {
    switch (c) {
      case '"': result += "\\\""; break;
      case '\\': result += "\\\\"; break;
      case '\n': result += "\\n"; break;
      case '\r': result += "\\r"; break;
      case '\t': result += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          char escape[8];
          std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
          result += escape;
        } else {
          result += c;
        }
    }
  }
  return result + "\"";
}

}  // namespace tasklib
