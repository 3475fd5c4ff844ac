// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Prints benchmark rows as Markdown, JSON, JSON lines or CSV.
#include "Report.h"

#include "format/Cpu.h"
#include "tbq/Version.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <numeric>
#include <sys/utsname.h>
#include <thread>

using namespace tbq;
using nlohmann::json;

double Row::mean() const {
  return std::accumulate(tokensPerSecond.begin(), tokensPerSecond.end(), 0.0) /
         static_cast<double>(tokensPerSecond.size());
}

double Row::deviation() const {
  if (tokensPerSecond.size() < 2)
    return 0;
  double sum = 0;
  for (double value : tokensPerSecond)
    sum += (value - mean()) * (value - mean());
  return std::sqrt(sum / static_cast<double>(tokensPerSecond.size() - 1));
}

double Row::share() const {
  if (limitBytesPerSecond > 0)
    return bytesPerSecond() / limitBytesPerSecond;
  return peakOperationsPerSecond > 0
             ? operationsPerSecond() / peakOperationsPerSecond
             : 0;
}

bool Row::isValid() const {
  return share() <= 1 || (bytesPerToken == 0 && usesTiles);
}

static json describeMachine() {
  std::string cpu = "unknown", text;
  std::ifstream info("/proc/cpuinfo");
  while (std::getline(info, text))
    if (text.rfind("model name", 0) == 0) {
      cpu = text.substr(text.find(':') + 2);
      break;
    }
  utsname system{};
  uname(&system);
  double load[1] = {0};
  if (getloadavg(load, 1) != 1)
    load[0] = -1;
  return {{"cpu", cpu},
          {"cpus", std::thread::hardware_concurrency()},
          {"system", std::string(system.sysname) + " " + system.release},
          {"amx", hostHasFeature("amx-int8")},
          {"load_average", load[0]}};
}

/// "ternary g128 2.25 bits" for each kind of layer.
static std::string schemesOf(const Manifest &manifest) {
  std::map<std::string, std::pair<double, double>> totals; // weights, bits
  for (const Manifest::Layer &layer : manifest.layers) {
    auto weights = static_cast<double>(layer.n) * static_cast<double>(layer.k);
    auto &[count, bits] = totals[layer.scheme];
    count += weights;
    bits += weights * layer.bitsPerWeight;
  }
  std::string text;
  for (const auto &[scheme, total] : totals) {
    char average[32];
    std::snprintf(average, sizeof(average), " %.2f",
                  total.second / total.first);
    text += (text.empty() ? "" : " + ") + scheme + average;
  }
  return text;
}

json Report::describe(const Row &row) const {
  char now[32];
  std::time_t seconds = std::time(nullptr);
  std::strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&seconds));
  json result = {{"test", row.test},
                 {"threads", row.threads},
                 {"tokens_per_second", row.mean()},
                 {"deviation", row.deviation()},
                 {"samples", row.tokensPerSecond},
                 {"uses_tiles", row.usesTiles},
                 {"batch", row.batch},
                 {"model",
                  {{"path", path},
                   {"name", manifest->model.name},
                   {"architecture", manifest->model.architecture},
                   {"schemes", schemesOf(*manifest)},
                   {"activations", manifest->activations},
                   {"kv_cache", manifest->kvCache},
                   {"weights_bytes", manifest->weights.bytes},
                   {"bytes_per_token", manifest->bytesPerToken},
                   {"target", manifest->target.cpu},
                   {"tbq", manifest->tbqVersion},
                   {"llvm", manifest->llvmVersion}}},
                 {"machine", describeMachine()},
                 {"flags", flags},
                 {"time", now},
                 {"tbq", TBQ_VERSION},
                 {"git", TBQ_GIT_REVISION}};
  if (row.bytesPerToken > 0) {
    result["bytes_per_token"] = row.bytesPerToken;
    result["gb_per_second"] = row.bytesPerSecond() / 1e9;
    result["limit_gb_per_second"] = row.limitBytesPerSecond / 1e9;
    result["limit_method"] = row.limitMethod;
    result["limit_share"] = row.share();
    result["valid"] = row.isValid();
  }
  if (row.operationsPerToken > 0) {
    result["operations_per_token"] = row.operationsPerToken;
    result["tera_operations_per_second"] = row.operationsPerSecond() / 1e12;
  }
  for (const PhaseRow &phase : row.phases)
    result["phases"].push_back({{"name", phase.name},
                                {"times", phase.times},
                                {"median_us", phase.median},
                                {"largest_us", phase.largest},
                                {"barrier_us", phase.barrier},
                                {"all_us", phase.whole}});
  if (row.peakOperationsPerSecond > 0) {
    result["peak_tera_operations_per_second"] =
        row.peakOperationsPerSecond / 1e12;
    result["peak_share"] = row.share();
    result["valid"] = row.isValid();
  }
  return result;
}

void Report::begin() const {
  if (format == "csv")
    std::printf("model,schemes,activations,threads,test,tokens_per_second,"
                "deviation,gb_per_second,limit_gb_per_second,limit_share,"
                "tera_operations_per_second,peak_tera_operations_per_second,"
                "peak_share\n");
  if (format != "md")
    return;
  json machine = describeMachine();
  std::printf("%s, %s activations, %s KV cache, %s; %s\n\n",
              manifest->model.name.c_str(), manifest->activations.c_str(),
              manifest->kvCache.c_str(), schemesOf(*manifest).c_str(),
              machine["cpu"].get<std::string>().c_str());
  std::printf(
      "| threads | test | tokens/s | a token | speed | limit | share |\n"
      "| ---: | --- | ---: | ---: | ---: | ---: | ---: |\n");
}

/// What a row did beside what it could have done, in the unit of its limit.
static void printShare(double speed, double limit, const Row &row,
                       const char *unit) {
  std::printf(" %.2f %s/s |", speed, unit);
  if (limit > 0)
    std::printf(" %.2f %s/s | %.0f %%%s |\n", limit, unit, 100 * row.share(),
                row.isValid() ? "" : " INVALID");
  else
    std::printf(" | |\n");
}

static std::string positive(double value) {
  return value > 0 ? std::to_string(value) : std::string();
}

static void printPhases(const Row &row) {
  std::printf("\nPhases of %s, microseconds a step: the work of the median "
              "block and of the last one, the barrier behind it when all have "
              "come, and all of it.\n\n"
              "| phase | times | median | last | barrier | all |\n"
              "| --- | ---: | ---: | ---: | ---: | ---: |\n",
              row.test.c_str());
  PhaseRow sum;
  auto print = [](const PhaseRow &phase) {
    std::printf("| %s | %g | %.1f | %.1f | %.1f | %.1f |\n", phase.name.c_str(),
                phase.times, phase.median, phase.largest, phase.barrier,
                phase.whole);
  };
  for (const PhaseRow &phase : row.phases) {
    print(phase);
    sum.times += phase.times;
    sum.median += phase.median;
    sum.largest += phase.largest;
    sum.barrier += phase.barrier;
    sum.whole += phase.whole;
  }
  sum.name = "all";
  print(sum);
}

void Report::add(const Row &row) {
  if (format == "md") {
    if (!row.phases.empty())
      timed.push_back(row);
    std::printf("| %lld | %s | %.2f ± %.2f |",
                static_cast<long long>(row.threads), row.test.c_str(),
                row.mean(), row.deviation());
    if (row.bytesPerToken > 0) {
      std::printf(" %.3f MB |", row.bytesPerToken / 1e6);
      printShare(row.bytesPerSecond() / 1e9, row.limitBytesPerSecond / 1e9, row,
                 "GB");
    } else {
      std::printf(" %.3f Gop |", row.operationsPerToken / 1e9);
      printShare(row.operationsPerSecond() / 1e12,
                 row.peakOperationsPerSecond / 1e12, row, "Top");
    }
  } else if (format == "csv") {
    bool decode = row.bytesPerToken > 0;
    std::printf("\"%s\",%s,%s,%lld,%s,%f,%f,%s,%s,%s,%s,%s,%s\n",
                manifest->model.name.c_str(), schemesOf(*manifest).c_str(),
                manifest->activations.c_str(),
                static_cast<long long>(row.threads), row.test.c_str(),
                row.mean(), row.deviation(),
                positive(row.bytesPerSecond() / 1e9).c_str(),
                positive(row.limitBytesPerSecond / 1e9).c_str(),
                positive(decode ? row.share() : 0).c_str(),
                positive(row.operationsPerSecond() / 1e12).c_str(),
                positive(row.peakOperationsPerSecond / 1e12).c_str(),
                positive(decode ? 0 : row.share()).c_str());
  } else if (format == "jsonl") {
    std::printf("%s\n", describe(row).dump().c_str());
  } else {
    rows.push_back(describe(row));
  }
  std::fflush(stdout);
}

void Report::end() const {
  for (const Row &row : timed)
    printPhases(row);
  if (format == "json")
    std::printf("%s\n", json(rows).dump(2).c_str());
}
