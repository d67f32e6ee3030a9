// Measurements kept between compilations, in memory and in a file of the user's cache folder. One file holds what was
// measured with one CPU, target, version of lowp and version of the kernels; it is a cache and nothing more: a file
// that is damaged, foreign or missing means that nothing is known yet, and a folder that cannot be written means that
// nothing is kept.
#pragma once

#include <map>
#include <string>

#include "ir/graph.h"

namespace lowp::runtime {

// $LOWP_CACHE (empty: none), else $XDG_CACHE_HOME/lowp, else ~/.cache/lowp; "" for none.
std::string tune_cache_folder();

class TuneCache {
 public:
  // Reads what the folder's file knows for this CPU and the active target. No folder (""): memory only.
  explicit TuneCache(const std::string& folder);

  const std::string& cpu() const { return cpu_; }
  const std::string& target() const { return target_; }
  const std::string& path() const { return path_; }  // of the file; "" without a folder
  // Null where nothing is known.
  const ir::Tuning* find(int threads, const std::string& shape) const;
  void put(ir::Tuning tuning);
  // Writes what is new, together with what other processes wrote meanwhile.
  void save();

 private:
  using Entries = std::map<std::pair<int, std::string>, ir::Tuning>;
  Entries read() const;

  std::string cpu_, target_, identity_, path_;
  Entries entries_;
  bool changed_ = false;
};

}  // namespace lowp::runtime
