// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotary embedding parameters of config.json, in both spellings: rope_theta
// with rope_scaling, and the rope_parameters of transformers 5.
// Input: the parsed config; output: ropeTheta and RopeScaling.
// Invariant: where both spellings are present they say the same; rope types
// other than default, linear and llama3 are refused by name.
#include "Config.h"

using namespace tbq;

bool RopeScaling::operator==(const RopeScaling &other) const {
  return kind == other.kind && factor == other.factor &&
         lowFrequencyFactor == other.lowFrequencyFactor &&
         highFrequencyFactor == other.highFrequencyFactor &&
         originalMaxPosition == other.originalMaxPosition;
}

static constexpr double thetaMinimum = 1.0, thetaMaximum = 1e15;
static constexpr double factorLimit = 1e6;
static constexpr int64_t positionLimit = 1 << 24;

static Status readLlama3(const JsonObject &rope, RopeScaling &scaling) {
  FieldReader fields;
  fields.set(scaling.lowFrequencyFactor,
             rope.number("low_freq_factor", 1e-6, factorLimit));
  fields.set(scaling.highFrequencyFactor,
             rope.number("high_freq_factor", 1e-6, factorLimit));
  fields.set(
      scaling.originalMaxPosition,
      rope.integer("original_max_position_embeddings", 1, positionLimit));
  if (Status status = fields.status(); !status)
    return status;
  if (scaling.lowFrequencyFactor >= scaling.highFrequencyFactor)
    return rope.unexpected("high_freq_factor", "more than low_freq_factor");
  return Status::ok();
}

static Result<RopeScaling> readScaling(const JsonObject &rope) {
  for (const auto &[key, value] : rope.raw().items())
    if (value.is_structured())
      return rope.error(key, "per-layer rope parameters are not supported");
  RopeScaling scaling;
  auto type = rope.stringOr("rope_type", "");
  if (!type)
    return type.error();
  auto oldType = rope.stringOr("type", *type); // before transformers 4.43
  if (!oldType)
    return oldType.error();
  if (type->empty())
    type = oldType;
  if (*type != *oldType)
    return rope.error("rope_type",
                      "'" + *type + "' and type '" + *oldType + "' disagree");
  if (type->empty())
    return rope.unexpected("rope_type", "default, linear or llama3");
  double partial = 1.0;
  FieldReader fields;
  fields.set(partial, rope.numberOr("partial_rotary_factor", 1.0, 1.0, 1.0));
  if (Status status = fields.status(); !status)
    return status.error();
  if (*type == "default")
    return scaling;
  if (*type != "linear" && *type != "llama3")
    return rope.error("rope_type", "unsupported rope type '" + *type +
                                       "' (supported: default, linear, "
                                       "llama3)");
  fields.set(scaling.factor, rope.number("factor", 1.0, factorLimit));
  if (Status status = fields.status(); !status)
    return status.error();
  scaling.kind = RopeScaling::Kind::Linear;
  if (*type == "llama3") {
    scaling.kind = RopeScaling::Kind::Llama3;
    if (Status status = readLlama3(rope, scaling); !status)
      return status.error();
  }
  return scaling;
}

Status tbq::readRope(const JsonObject &config, LlamaConfig &result) {
  double partial = 1.0;
  FieldReader fields;
  fields.set(partial, config.numberOr("partial_rotary_factor", 1.0, 1.0, 1.0));
  fields.set(result.ropeTheta, config.numberOr("rope_theta", 10000.0,
                                               thetaMinimum, thetaMaximum));
  if (Status status = fields.status(); !status)
    return status;

  std::optional<RopeScaling> found;
  for (const char *key : {"rope_parameters", "rope_scaling"}) {
    if (!config.has(key))
      continue;
    auto rope = config.object(key);
    if (!rope)
      return rope.error();
    auto scaling = readScaling(*rope);
    if (!scaling)
      return scaling.error();
    if (found && !(*found == *scaling))
      return config.error(key, "disagrees with rope_parameters");
    found = *scaling;
    if (!rope->has("rope_theta"))
      continue;
    auto theta = rope->number("rope_theta", thetaMinimum, thetaMaximum);
    if (!theta)
      return theta.error();
    if (config.has("rope_theta") && *theta != result.ropeTheta)
      return rope->unexpected("rope_theta", "equal to config's rope_theta, " +
                                                describeJson(result.ropeTheta));
    result.ropeTheta = *theta;
  }
  if (found)
    result.rope = *found;
  return Status::ok();
}
