// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Prints benchmark rows as Markdown, JSON, JSON lines or CSV.
#include "Report.h"

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
  return limitBytesPerSecond > 0 ? bytesPerSecond() / limitBytesPerSecond : 0;
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
    result["valid"] = row.share() <= 1;
  }
  return result;
}

void Report::begin() const {
  if (format == "csv")
    std::printf("model,schemes,activations,threads,test,tokens_per_second,"
                "deviation,gb_per_second,limit_gb_per_second,limit_share\n");
  if (format != "md")
    return;
  json machine = describeMachine();
  std::printf("%s, %s activations, %s KV cache, %s; %s\n\n",
              manifest->model.name.c_str(), manifest->activations.c_str(),
              manifest->kvCache.c_str(), schemesOf(*manifest).c_str(),
              machine["cpu"].get<std::string>().c_str());
  std::printf("| threads | test | tokens/s | MB/token | GB/s | limit GB/s | "
              "share |\n"
              "| ---: | --- | ---: | ---: | ---: | ---: | ---: |\n");
}

void Report::add(const Row &row) {
  if (format == "md") {
    std::printf("| %lld | %s | %.2f ± %.2f |",
                static_cast<long long>(row.threads), row.test.c_str(),
                row.mean(), row.deviation());
    if (row.bytesPerToken > 0)
      std::printf(" %.3f | %.2f | %.2f | %.0f %%%s |\n",
                  row.bytesPerToken / 1e6, row.bytesPerSecond() / 1e9,
                  row.limitBytesPerSecond / 1e9, 100 * row.share(),
                  row.share() > 1 ? " INVALID" : "");
    else
      std::printf(" | | | |\n");
  } else if (format == "csv") {
    auto text = [](double value) {
      return value > 0 ? std::to_string(value) : std::string();
    };
    std::printf(
        "\"%s\",%s,%s,%lld,%s,%f,%f,%s,%s,%s\n", manifest->model.name.c_str(),
        schemesOf(*manifest).c_str(), manifest->activations.c_str(),
        static_cast<long long>(row.threads), row.test.c_str(), row.mean(),
        row.deviation(), text(row.bytesPerSecond() / 1e9).c_str(),
        text(row.bytesPerToken > 0 ? row.limitBytesPerSecond / 1e9 : 0).c_str(),
        text(row.share()).c_str());
  } else if (format == "jsonl") {
    std::printf("%s\n", describe(row).dump().c_str());
  } else {
    rows.push_back(describe(row));
  }
  std::fflush(stdout);
}

void Report::end() const {
  if (format == "json")
    std::printf("%s\n", json(rows).dump(2).c_str());
}
