// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A verification as text and as JSON. Kinds stand in the order in which the
// model first has them.
#include "Report.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>

using namespace tbq;
using mlir::tbq::OperationReport;
using mlir::tbq::VerifyReport;
using nlohmann::json;

/// Layers listed as the worst ones.
static constexpr size_t worstLayers = 5;

namespace {
/// All operations of one kind.
struct Kind {
  const OperationReport *worst; // the one that deviates most
  int64_t operations = 0, runs = 0, values = 0, differing = 0;
};
} // namespace

static std::string format(const char *text, ...)
    __attribute__((format(printf, 1, 2)));
static std::string format(const char *text, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, text);
  std::vsnprintf(line, sizeof(line), text, arguments);
  va_end(arguments);
  return line;
}

static bool isWorse(const OperationReport &a, const OperationReport &b) {
  return std::pair(a.worst.relative, a.worst.differing) >
         std::pair(b.worst.relative, b.worst.differing);
}

static std::vector<Kind> collectKinds(const VerifyReport &report) {
  std::vector<Kind> kinds;
  for (const OperationReport &operation : report.operations) {
    auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const Kind &k) {
      return k.worst->kind == operation.kind;
    });
    if (kind == kinds.end())
      kind = kinds.insert(kinds.end(), Kind{&operation});
    if (isWorse(operation, *kind->worst))
      kind->worst = &operation;
    ++kind->operations;
    kind->runs += operation.runs;
    kind->values += operation.worst.values;
    kind->differing += operation.worst.differing;
  }
  return kinds;
}

static std::string kindLine(const Kind &kind) {
  const OperationReport &worst = *kind.worst;
  const std::string bound = worst.exact ? "equal" : format("%.1e", worst.bound);
  return format("%-22s %5lld %6lld %10lld %9lld  %8s  %8.1e %8.1e %7.1f  %s\n",
                worst.kind.c_str(), static_cast<long long>(kind.operations),
                static_cast<long long>(kind.runs),
                static_cast<long long>(kind.values),
                static_cast<long long>(kind.differing), bound.c_str(),
                worst.worst.relative, worst.worst.absolute, worst.worst.ulp,
                kind.differing ? worst.layer.c_str() : "");
}

std::string tbq::reportText(const VerifyReport &report) {
  std::string text;
  if (report.operations.empty())
    text += "The artifact does not show its operations (tbqc --dump-tensors): "
            "only logits are compared.\n";
  else
    text += "operation                ops   runs     values    differ     bound"
            "  relative absolute     ULP  worst in\n";
  for (const Kind &kind : collectKinds(report))
    text += kindLine(kind);

  std::vector<const OperationReport *> order;
  for (const OperationReport &operation : report.operations)
    if (operation.worst.differing)
      order.push_back(&operation);
  // Those that are equally bad in the order of the model, as they lie.
  std::sort(order.begin(), order.end(), [](auto *a, auto *b) {
    return isWorse(*a, *b) || (!isWorse(*b, *a) && a < b);
  });
  order.resize(std::min(order.size(), worstLayers));
  if (!order.empty())
    text += "\nworst:\n";
  for (const OperationReport *operation : order)
    text += format("  %8.1e  %s  %s\n", operation->worst.relative,
                   operation->layer.c_str(), operation->kind.c_str());
  text += format("\nlogits of %lld tokens in %lld steps: NMSE %.2e",
                 static_cast<long long>(report.tokens),
                 static_cast<long long>(report.steps), report.logitsError);
  return text + (report.logitsBound
                     ? format(" (bound %.0e)\n", *report.logitsBound)
                     : " (integer activations: no bound)\n");
}

/// JSON has no infinity.
static json number(double value) {
  return std::isfinite(value) ? json(value) : json("infinite");
}

json tbq::reportJson(const VerifyReport &report) {
  json operations = json::array();
  for (const OperationReport &operation : report.operations)
    operations.push_back({{"kind", operation.kind},
                          {"layer", operation.layer},
                          {"exact", operation.exact},
                          {"bound", operation.bound},
                          {"runs", operation.runs},
                          {"values", operation.worst.values},
                          {"differing", operation.worst.differing},
                          {"absolute", number(operation.worst.absolute)},
                          {"relative", number(operation.worst.relative)},
                          {"ulp", number(operation.worst.ulp)},
                          {"broken", operation.broken}});
  return {{"tokens", report.tokens},
          {"steps", report.steps},
          {"operations", std::move(operations)},
          {"logits",
           {{"nmse", number(report.logitsError)},
            {"bound", report.logitsBound ? json(*report.logitsBound) : json()},
            {"broken", report.isLogitsBroken()}}}};
}

std::vector<std::string> tbq::brokenBounds(const VerifyReport &report) {
  std::vector<std::string> lines;
  for (const OperationReport &operation : report.operations)
    if (operation.broken)
      lines.push_back(
          operation.exact
              ? format("%s: %s: %lld of %lld values differ, by up to %.1e",
                       operation.layer.c_str(), operation.kind.c_str(),
                       static_cast<long long>(operation.worst.differing),
                       static_cast<long long>(operation.worst.values),
                       operation.worst.absolute)
              : format("%s: %s: relative deviation %.1e, bound %.1e",
                       operation.layer.c_str(), operation.kind.c_str(),
                       operation.worst.relative, operation.bound));
  if (report.isLogitsBroken())
    lines.push_back(format("logits: NMSE %.2e, bound %.0e", report.logitsError,
                           *report.logitsBound));
  return lines;
}
