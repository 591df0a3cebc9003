/// An executor with tasks for sounds: a low-pass filter over a directory of WAV files, and how loud a file is.
#include <tasklib/executor.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "wav.h"

namespace fs = std::filesystem;

namespace {

/// Two passes of a one-pole filter: what is above `cutoff` Hz becomes quieter.
void low_pass(Sound &sound, double cutoff) {
  const double pi = std::acos(-1.0);
  const double share = 1 - std::exp(-2 * pi * cutoff / sound.rate);
  for (int pass = 0; pass < 2; ++pass) {
    for (std::size_t channel = 0; channel < sound.channels; ++channel) {
      double level = 0;
      for (std::size_t i = channel; i < sound.samples.size(); i += sound.channels) {
        level += share * (sound.samples[i] - level);
        sound.samples[i] = static_cast<std::int16_t>(std::lround(level));
      }
    }
  }
}

double loudness(const Sound &sound) {
  double sum = 0;
  for (const double sample : sound.samples) sum += sample * sample;
  return sound.samples.empty() ? 0 : std::sqrt(sum / static_cast<double>(sound.samples.size()));
}

std::string read_file(const fs::path &path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

int main() {
  tasklib::Executor executor("wav");

  // A directory of WAV files -> the same files, filtered. Other files are an error, and so is a wrong configuration.
  executor.add_task("low_pass", [](tasklib::Context &ctx, auto &inputs, auto &outputs) {
    if (!ctx.check_n_args(1)) return;
    const double cutoff = ctx.config()["cutoff"].as_double();
    if (cutoff <= 0) throw tasklib::TaskError("the cutoff has to be above 0 Hz");

    auto filtered = ctx.create_directory();
    std::size_t count = 0;
    for (const auto &entry : fs::directory_iterator(inputs[0]->path())) {
      const fs::path name = entry.path().filename();
      try {
        Sound sound = read_wav(read_file(entry.path()));
        low_pass(sound, cutoff);
        std::ofstream(filtered->path() / name, std::ios::binary) << write_wav(sound);
      } catch (const tasklib::TaskError &error) {
        throw tasklib::TaskError(name.string() + ": " + error.what());
      }
      ++count;
    }
    ctx.debug("filtered ", count, " files");
    outputs.push_back(std::move(filtered));
  });

  // A WAV file -> its loudness as text; the input is read where it is.
  executor.add_task("loudness", [](tasklib::Context &ctx, auto &inputs, auto &outputs) {
    if (!ctx.check_n_args(1)) return;
    const double level = loudness(read_wav(inputs[0]->view()));
    outputs.push_back(std::make_unique<tasklib::MemDataInstance>(std::to_string(level), "json"));
  });

  executor.start();
}
