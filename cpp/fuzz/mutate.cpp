/// Drives a fuzz target where there is no libFuzzer: damages seeds at random, without looking at what the code does with them.
/// It takes the options of libFuzzer that fuzz.sh uses: -runs=N -seed=N -max_total_time=SECONDS -max_len=N
/// -artifact_prefix=PATH, then folders with seeds. The input that a target dies of is kept at PATHcrash.
#include <sanitizer/common_interface_defs.h>
#include <signal.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

std::string crash_path;
Bytes current;

void keep_current() {
  std::FILE *file = std::fopen(crash_path.c_str(), "wb");
  if (file == nullptr) return;
  std::fwrite(current.data(), 1, current.size(), file);
  std::fclose(file);
  std::fprintf(stderr, "the input is kept at %s\n", crash_path.c_str());
}

class Mutations {
 public:
  Mutations(std::vector<Bytes> seeds, std::uint64_t seed, std::size_t bytes_max)
      : seeds_(std::move(seeds)), random_(seed), bytes_max_(bytes_max) {}

  Bytes next() {
    Bytes bytes = seeds_[below(seeds_.size())];
    for (std::size_t left = 1 + below(6); left > 0; --left) damage(bytes);
    if (bytes.size() > bytes_max_) bytes.resize(bytes_max_);
    return bytes;
  }

 private:
  std::size_t below(std::size_t end) { return std::uniform_int_distribution<std::size_t>(0, end - 1)(random_); }

  std::uint8_t byte() {
    // Bytes that mean something to MessagePack, JSON or UTF-8.
    static constexpr std::uint8_t kTelling[] = {0x00, 0x7f, 0x80, 0x9f, 0xa0, 0xbf, 0xc0, 0xc4, 0xc6, 0xcb, 0xcf, 0xd3, 0xd9, 0xdb,
                                                0xdd, 0xdf, 0xff, '{',  '}',  '[',  ']',  '"',  '\\', 'u',  'd',  'e',  '-',  '9'};
    return below(2) == 0 ? kTelling[below(sizeof kTelling)] : static_cast<std::uint8_t>(below(256));
  }

  void damage(Bytes &bytes) {
    const std::size_t at = below(bytes.size() + 1);
    const std::size_t end = at + below(bytes.size() - at + 1);
    const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    const auto past = bytes.begin() + static_cast<std::ptrdiff_t>(end);
    switch (below(6)) {
      case 0: bytes.insert(place, byte()); break;
      case 1: bytes.erase(place, past); break;
      case 2: {
        const Bytes part(place, past);
        bytes.insert(place, part.begin(), part.end());
        break;
      }
      case 3: {
        const Bytes &other = seeds_[below(seeds_.size())];
        bytes.resize(at);
        bytes.insert(bytes.end(), other.begin() + static_cast<std::ptrdiff_t>(below(other.size() + 1)), other.end());
        break;
      }
      default:
        if (at < bytes.size()) *place = byte();
    }
  }

  std::vector<Bytes> seeds_;
  std::mt19937_64 random_;
  std::size_t bytes_max_;
};

}  // namespace

int main(int argc, char **argv) {
  std::map<std::string, std::string> options{{"runs", "100000"}, {"seed", "1"}, {"max_total_time", "0"}, {"max_len", "4096"}};
  std::vector<Bytes> seeds{{}};
  for (int number = 1; number < argc; ++number) {
    const std::string argument = argv[number];
    const std::size_t equals = argument.find('=');
    if (argument.front() == '-' && equals != std::string::npos) {
      options[argument.substr(1, equals - 1)] = argument.substr(equals + 1);
      continue;
    }
    for (const auto &entry : std::filesystem::directory_iterator(argument)) {
      std::ifstream file(entry.path(), std::ios::binary);
      seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }
  crash_path = options["artifact_prefix"] + "crash";
  __sanitizer_set_death_callback(keep_current);
  signal(SIGABRT, [](int) {
    keep_current();
    std::_Exit(1);
  });

  const auto start = std::chrono::steady_clock::now();
  const std::chrono::seconds time_max(std::stoull(options["max_total_time"]));
  const std::int64_t runs = std::stoll(options["runs"]);
  Mutations mutations(seeds, std::stoull(options["seed"]), std::stoull(options["max_len"]));
  std::int64_t done = 0;
  const auto run = [&](Bytes bytes) {
    current = std::move(bytes);
    // As long as the input is, so that a read past it is seen.
    current.shrink_to_fit();
    LLVMFuzzerTestOneInput(current.data(), current.size());
    ++done;
  };
  for (const Bytes &seed : seeds) run(seed);
  while (runs < 0 || done < runs) {
    if (time_max.count() > 0 && std::chrono::steady_clock::now() - start > time_max) break;
    run(mutations.next());
  }
  std::printf("%lld inputs, none of them a fault\n", static_cast<long long>(done));
}
