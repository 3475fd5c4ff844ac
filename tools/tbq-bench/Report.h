// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The rows of tbq-bench and the forms they are printed in.
// Invariant: each row is complete by itself: machine, model, flags, result.
#ifndef TBQ_TOOLS_TBQBENCH_REPORT_H
#define TBQ_TOOLS_TBQBENCH_REPORT_H

#include "format/Manifest.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tbq {

/// A phase of a GPU's step, in microseconds a step, summed over layers.
struct PhaseRow {
  std::string name;
  double times = 0; // a step
  double median = 0, largest = 0, barrier = 0, whole = 0;
};

struct Row {
  std::string test; // "pp512", "tg128"
  int64_t threads = 0;
  int64_t batch = 1;                   // sequences decoded at once
  std::vector<double> tokensPerSecond; // of each repetition
  double bytesPerToken = 0; // information bytes of weights and KV; 0: not said
  double limitBytesPerSecond = 0;
  std::string limitMethod;
  double operationsPerToken = 0; // two for each weight of a linear; 0: not said
  double peakOperationsPerSecond = 0; // 0: no such peak
  bool usesTiles = false;             // of AMX, which are no vpdpbusd
  std::vector<PhaseRow> phases;       // of an artifact that times them

  double mean() const;
  double deviation() const; // of the sample
  double bytesPerSecond() const { return bytesPerToken * mean(); }
  double operationsPerSecond() const { return operationsPerToken * mean(); }
  /// Of the memory limit, or of the peak; 0 where there is neither.
  double share() const;
  /// Whether the share can be: AMX tiles pass vpdpbusd's peak.
  bool isValid() const;
};

struct Report {
  std::string format; // md, json, jsonl, csv
  std::string path;
  const Manifest *manifest = nullptr;
  std::vector<std::string> flags;

  void begin() const;
  void add(const Row &row);
  void end() const;

private:
  nlohmann::json describe(const Row &row) const;
  std::vector<nlohmann::json> rows;
  std::vector<Row> timed; // whose phases come behind the table
};

} // namespace tbq

#endif // TBQ_TOOLS_TBQBENCH_REPORT_H
