// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The tensors of one linear, float or quantised.
// Input: an open Checkpoint and the shape config.json gives; output: views.
// Invariant: a linear's tensors are complete, of the right type and shape, and
// none under its name is left over; ternary codes are 0, 1 or 2, no bit past
// the end of a row is set, and scales and shifts are finite.
#include "LinearTensors.h"

#include "format/NamePattern.h"

#include "CheckpointState.h"
#include "Tensor.h"

#include <algorithm>
#include <cstring>

using namespace tbq;

/// Whether `part` occurs in `name` as a run of whole dotted parts.
static bool containsModule(std::string_view name, std::string_view part) {
  for (size_t at = name.find(part); at != std::string_view::npos;
       at = name.find(part, at + 1)) {
    size_t end = at + part.size();
    if ((at == 0 || name[at - 1] == '.') &&
        (end == name.size() || name[end] == '.'))
      return true;
  }
  return false;
}

static bool sameScheme(const LinearScheme &a, const LinearScheme &b) {
  return a.scheme == b.scheme && a.groupSize == b.groupSize &&
         a.shift == b.shift;
}

Result<std::optional<LinearScheme>>
Checkpoint::schemeOf(const std::string &name) const {
  const auto &quantization = state->quantization;
  const std::string prefix = state->config.parts.layers + ".";
  if (!quantization || name.compare(0, prefix.size(), prefix) != 0)
    return std::optional<LinearScheme>();
  for (const std::string &module : quantization->modulesToNotConvert)
    if (containsModule(name, module))
      return std::optional<LinearScheme>();
  const SchemeOverride *found = nullptr;
  for (const SchemeOverride &candidate : quantization->overrides) {
    auto matches = candidate.matcher->matches(name);
    const std::string config = state->directory.pathOf("config.json");
    if (!matches)
      return makeError(config,
                       "quantization_config.layers." + candidate.pattern,
                       matches.error().message);
    if (!*matches)
      continue;
    if (found && !sameScheme(found->scheme, candidate.scheme))
      return makeError(config, "quantization_config.layers",
                       "both '" + found->pattern + "' and '" +
                           candidate.pattern + "' match " + name +
                           " and differ");
    found = &candidate;
  }
  return std::optional(found ? found->scheme : quantization->scheme);
}

/// The first code that is not 0, 1 or 2: both bits of a pair set.
static Status checkTernaryCodes(const TensorView &codes) {
  constexpr uint64_t low = 0x5555555555555555;
  auto bad = [](uint64_t pairs) { return (pairs & (pairs >> 1) & low) != 0; };
  uint64_t at = 0;
  for (uint64_t word; codes.bytes - at >= sizeof(word); at += sizeof(word)) {
    std::memcpy(&word, codes.data + at, sizeof(word));
    if (bad(word))
      break;
  }
  for (; at < codes.bytes; ++at)
    if (bad(codes.data[at])) {
      const auto rowBytes = static_cast<uint64_t>(codes.shape[1]);
      return makeError(codes.file, codes.name,
                       "byte " + std::to_string(at % rowBytes) + " of row " +
                           std::to_string(at / rowBytes) +
                           " holds a code 3 (ternary codes are 0, 1, 2)");
    }
  return Status::ok();
}

std::string tbq::indexOf(const TensorView &tensor, uint64_t at) {
  std::string index = "]";
  for (size_t axis = tensor.shape.size(); axis-- > 0;) {
    const auto size = static_cast<uint64_t>(tensor.shape[axis]);
    index = (axis ? ", " : "[") + std::to_string(at % size) + index;
    at /= size;
  }
  return index;
}

Status tbq::checkUnusedBits(const TensorView &digits, int64_t columns,
                            int64_t bits) {
  const auto rowBytes = static_cast<uint64_t>(digits.shape.back());
  const int64_t used = columns * bits % 8;
  if (used == 0)
    return Status::ok();
  for (uint64_t at = rowBytes - 1; at < digits.bytes; at += rowBytes)
    if (digits.data[at] >> used)
      return makeError(digits.file, digits.name,
                       "byte " + indexOf(digits, at) + " has bits past the " +
                           std::to_string(columns) + " columns of its row");
  return Status::ok();
}

Status tbq::checkFiniteF16(const TensorView &tensor) {
  for (uint64_t at = 0; at < tensor.bytes; at += 2)
    if ((tensor.data[at + 1] & 0x7c) == 0x7c)
      return makeError(tensor.file, tensor.name,
                       "element " + indexOf(tensor, at / 2) +
                           " is infinite or not a number");
  return Status::ok();
}

Status tbq::checkNothingLeft(const Checkpoint &checkpoint,
                             const LinearTensors &linear) {
  const std::string prefix = linear.name + ".";
  const auto &tensors = checkpoint.tensors();
  auto tensor =
      std::lower_bound(tensors.begin(), tensors.end(), prefix,
                       [](const TensorView &view, const std::string &wanted) {
                         return view.name < wanted;
                       });
  for (; tensor != tensors.end() &&
         tensor->name.compare(0, prefix.size(), prefix) == 0;
       ++tensor) {
    const TensorView *view = &*tensor;
    const SalientTensors salient = linear.salient.value_or(SalientTensors());
    const TensorView *known[] = {linear.weight, linear.bias,    linear.codes,
                                 linear.planes, linear.scale,   linear.shift,
                                 salient.mask,  salient.values, salient.offsets,
                                 salient.scale, salient.zero};
    if (std::find(std::begin(known), std::end(known), view) == std::end(known))
      return makeError(
          view->file, view->name,
          "is not a tensor of this linear, which config.json "
          "says is " +
              std::string(linear.quantization
                              ? schemeName(linear.quantization->scheme)
                              : "float") +
              (linear.salient ? " with salient weights" : "") +
              (linear.bias ? " with a bias" : " without bias") +
              (linear.quantization && !linear.shift ? " and without shift"
                                                    : ""));
  }
  return Status::ok();
}

/// Ternary codes or planes of bits, checked.
static Status readDigits(const Checkpoint &checkpoint, LinearTensors &linear) {
  if (linear.quantization->scheme == Scheme::Ternary) {
    auto codes =
        checkpoint.require(linear.name + ".codes", {DType::U8},
                           {linear.rows, (linear.columns - 1) / 4 + 1});
    if (!codes)
      return codes.error();
    linear.codes = *codes;
    return checkTernaryCodes(**codes);
  }
  const int64_t count = linear.quantization->scheme == Scheme::Binary ? 1 : 2;
  auto planes =
      checkpoint.require(linear.name + ".planes", {DType::U8},
                         {count, linear.rows, (linear.columns - 1) / 8 + 1});
  if (!planes)
    return planes.error();
  linear.planes = *planes;
  return checkUnusedBits(**planes, linear.columns, 1);
}

static Status readQuantized(const Checkpoint &checkpoint,
                            LinearTensors &linear) {
  if (Status status = readDigits(checkpoint, linear); !status)
    return status;
  const std::vector<int64_t> groupShape{linear.rows, linear.groups};
  std::vector<int64_t> scaleShape = groupShape;
  if (linear.quantization->scheme == Scheme::DualBinary)
    scaleShape.insert(scaleShape.begin(), 2);
  auto scale =
      checkpoint.require(linear.name + ".scale", {DType::F16}, scaleShape);
  if (!scale)
    return scale.error();
  linear.scale = *scale;
  if (linear.quantization->shift) {
    auto shift =
        checkpoint.require(linear.name + ".shift", {DType::F16}, groupShape);
    if (!shift)
      return shift.error();
    linear.shift = *shift;
    if (Status status = checkFiniteF16(**shift); !status)
      return status;
  }
  if (Status status = checkFiniteF16(**scale); !status)
    return status;
  return linear.quantization->scheme == Scheme::Binary
             ? readSalient(checkpoint, linear)
             : Status::ok();
}

Result<LinearTensors> Checkpoint::linear(const std::string &name, int64_t rows,
                                         int64_t columns, bool hasBias) const {
  auto scheme = schemeOf(name);
  if (!scheme)
    return scheme.error();
  LinearTensors linear;
  linear.name = name;
  linear.rows = rows;
  linear.columns = columns;
  linear.quantization = *scheme;
  if (hasBias) {
    auto bias = requireFloat(name + ".bias", {rows});
    if (!bias)
      return bias.error();
    linear.bias = *bias;
  }
  if (*scheme) {
    linear.groups = (*scheme)->groupsPerRow(columns);
    if (Status status = readQuantized(*this, linear); !status)
      return status.error();
    // The checks read all of them; they are read again when they are packed.
    const SalientTensors salient = linear.salient.value_or(SalientTensors());
    for (const TensorView *tensor :
         {linear.codes, linear.planes, linear.scale, linear.shift, salient.mask,
          salient.offsets, salient.scale, salient.zero})
      if (tensor)
        dropPages(*tensor);
  } else {
    auto weight = requireFloat(name + ".weight", {rows, columns});
    if (!weight)
      return weight.error();
    linear.weight = *weight;
  }
  if (Status status = checkNothingLeft(*this, linear); !status)
    return status.error();
  return linear;
}
