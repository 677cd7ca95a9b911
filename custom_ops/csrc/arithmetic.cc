#include "arithmetic.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <vector>

#include "aligned.h"

namespace onnxbf {
namespace {

constexpr int32_t kWidestRounded = 21;
constexpr int32_t kWidestRandom = 22;  // mantissa and random bits of an accumulator
constexpr int64_t kLongestChunk = int64_t{1} << 20;
constexpr int64_t kWidestAligned = 25;
constexpr int64_t kLargestAligned = int64_t{1} << 29;  // of group * 2^bits
constexpr int32_t kWidestFactor = 10;
constexpr int64_t kLong = 1024;  // products; more of them go in chunks of long_chunk

using Options = std::map<std::string, std::string>;

struct Spec {
  std::string name;
  Options options;
};

struct NamedFormat {
  const char* name;
  int32_t exponent_bits, mantissa_bits, specials;
};

constexpr NamedFormat kFormats[] = {
    {"fp32", 8, 23, kIeee},   {"tf32", 8, 10, kIeee}, {"bf16", 8, 7, kIeee},
    {"fp16", 5, 10, kIeee},   {"e4m3fn", 4, 3, kNan}, {"e3m4fn", 3, 4, kNan},
    {"e3m2", 3, 2, kNone},    {"e2m3", 2, 3, kNone},  {"e2m1", 2, 1, kNone},
};

constexpr CastSpec cast(int32_t mantissa_bits, Rounding rounding, bool flush) {
  return {8, mantissa_bits, kIeee, rounding, flush, 0, 32};
}

constexpr CastSpec kFloat32 = cast(23, kNearestEven, false);
constexpr CastSpec kBfloat16 = cast(7, kNearestEven, false);
constexpr CastSpec kIntel = cast(7, kNearestEven, true);
constexpr CastSpec kCutOff = cast(23, kTowardZero, false);
constexpr CastSpec kFloat16 = {5, 10, kIeee, kNearestEven, 0, 0, 32};
constexpr CastSpec kE4m3fn = {4, 3, kNan, kNearestEven, 0, 1, 32};

Arithmetic plain(Step step) {
  return {step, kFloat32, std::nullopt, false, false, false, 0, 0, kFloat32, std::nullopt, 0, 0};
}

Arithmetic intel(Step step, int64_t chunk, int64_t long_chunk) {
  Arithmetic made = plain(step);
  made.operands = kIntel;
  made.flush = made.denormals_in_are_zero = true;
  made.chunk = chunk;
  made.long_chunk = long_chunk;
  return made;
}

// One that an instruction is: even its NaNs.
Arithmetic instruction(Step step, int64_t chunk) {
  Arithmetic made = intel(step, chunk, 0);
  made.keeps_nan = true;
  return made;
}

Arithmetic arm(Step step) {
  Arithmetic made = plain(step);
  made.operands = kBfloat16;
  if (step == kFusedPair) return made;
  made.accumulator = cast(23, kToOdd, true);
  made.denormals_in_are_zero = true;
  return made;
}

Arithmetic tensor_core(int64_t group, int32_t bits, const CastSpec& operands,
                       const CastSpec& accumulator) {
  Arithmetic made = plain(kAligned);
  made.group = group;
  made.bits = bits;
  made.operands = operands;
  made.accumulator = accumulator;
  return made;
}

std::optional<Arithmetic> find_profile(const std::string& name) {
  if (name == "fp32") return plain(kFma);
  if (name == "avx512_bf16") return instruction(kOddFirst, 0);
  if (name == "amx_bf16") return instruction(kEvenOdd, 32);
  if (name == "arm_bf16") return arm(kPair);
  if (name == "arm_ebf16") return arm(kFusedPair);
  if (name == "torch_cpu_bf16") {
    Arithmetic made = intel(kOddFirst, 512, 1024);
    made.result = kBfloat16;
    return made;
  }
  if (name == "volta_fp16") return tensor_core(4, 23, kFloat16, kCutOff);
  if (name == "ampere_bf16") return tensor_core(8, 24, kBfloat16, kCutOff);
  if (name == "hopper_bf16") return tensor_core(16, 25, kBfloat16, kCutOff);
  if (name == "hopper_fp8") return tensor_core(32, 13, kE4m3fn, cast(13, kTowardZero, false));
  if (name == "pairwise") return plain(kPairwise);
  if (name == "kahan") return plain(kKahan);
  if (name == "exact") return plain(kExact);
  return std::nullopt;
}

[[noreturn]] void complain(const std::string& text) { throw std::invalid_argument(text); }

// name or name{key=value,...}, where values may hold braces.
Spec parse_spec(const std::string& text) {
  const size_t open = text.find('{');
  if (open == std::string::npos) return {text, {}};
  if (text.back() != '}') complain("the braces in '" + text + "' do not match.");
  Spec spec{text.substr(0, open), {}};
  const std::string inside = text.substr(open + 1, text.size() - open - 2);
  size_t start = 0;
  int depth = 0;
  for (size_t i = 0; i <= inside.size(); ++i) {
    const char letter = i < inside.size() ? inside[i] : ',';
    depth += (letter == '{') - (letter == '}');
    if (letter != ',' || depth != 0) continue;
    const std::string item = inside.substr(start, i - start);
    const size_t equals = item.find('=');
    if (equals == std::string::npos) complain("option '" + item + "' is not key=value.");
    spec.options[item.substr(0, equals)] = item.substr(equals + 1);
    start = i + 1;
  }
  return spec;
}

std::string take(Options& options, const std::string& key, const std::string& fallback) {
  const auto found = options.find(key);
  if (found == options.end()) return fallback;
  const std::string value = found->second;
  options.erase(found);
  return value;
}

void refuse_rest(const Spec& spec) {
  if (spec.options.empty()) return;
  complain("'" + spec.name + "' has no option '" + spec.options.begin()->first + "'.");
}

int32_t choose(const std::string& what, const std::string& value,
               const std::vector<std::string>& choices) {
  const auto found = std::find(choices.begin(), choices.end(), value);
  if (found == choices.end()) complain("unknown " + what + " '" + value + "'.");
  return static_cast<int32_t>(found - choices.begin());
}

int64_t whole_number(const std::string& text) {
  const bool digits = !text.empty() && text.size() < 10 &&
                      text.find_first_not_of("0123456789") == std::string::npos;
  return digits ? std::stoll(text) : -1;
}

void read_format(const std::string& name, CastSpec& spec) {
  for (const NamedFormat& format : kFormats) {
    if (name != format.name) continue;
    spec.exponent_bits = format.exponent_bits;
    spec.mantissa_bits = format.mantissa_bits;
    spec.specials = format.specials;
    return;
  }
  const size_t m = name.find('m');
  if (name.empty() || name[0] != 'e' || m == std::string::npos) {
    complain("unknown number format '" + name + "'.");
  }
  spec.exponent_bits = static_cast<int32_t>(whole_number(name.substr(1, m - 1)));
  spec.mantissa_bits = static_cast<int32_t>(whole_number(name.substr(m + 1)));
  spec.specials = kIeee;
}

CastSpec make_cast(const std::string& format, const std::string& rounding, Spec& rest) {
  CastSpec spec{};
  read_format(format, spec);
  spec.rounding = choose("rounding", rounding, {"rne", "rna", "rtz", "rup", "rdn", "rto", "sr"});
  spec.flush = choose("choice for subnormals", take(rest.options, "subnormals", "keep"),
                      {"keep", "flush"});
  spec.saturate = choose("choice for overflow", take(rest.options, "overflow", "infinity"),
                         {"infinity", "saturate"});
  const bool random = spec.rounding == kStochastic;
  const std::string bits = random ? take(rest.options, "bits", "32") : "32";
  spec.random_bits = static_cast<int32_t>(whole_number(bits));
  refuse_rest(rest);
  if (const char* reason = problem(spec)) complain(std::string(reason) + ".");
  return spec;
}

int64_t take_whole(Options& options, const std::string& key, const std::string& fallback,
                   int64_t least, int64_t most) {
  const int64_t number = whole_number(take(options, key, fallback));
  if (number < least || number > most) {
    complain(key + " must be from " + std::to_string(least) + " to " + std::to_string(most) + ".");
  }
  return number;
}

CastSpec read_cast(const std::string& text) {
  Spec spec = parse_spec(text);
  const size_t colon = spec.name.find(':');
  const std::string rounding = colon == std::string::npos ? "rne" : spec.name.substr(colon + 1);
  return make_cast(spec.name.substr(0, colon), rounding, spec);
}

CastSpec accumulator(CastSpec spec) {
  if (!is_float32(spec) && spec.mantissa_bits > kWidestRounded) {
    complain("beside fp32:rne, accumulators have at most 21 mantissa bits.");
  }
  if (spec.rounding != kStochastic) return spec;
  const int32_t widest = kWidestRandom - spec.mantissa_bits;
  if (spec.random_bits != 32 && spec.random_bits > widest) {
    complain("accumulators have at most 22 mantissa and random bits together.");
  }
  spec.random_bits = std::min(spec.random_bits, widest);
  return spec;
}

Arithmetic read_tensor_core(Spec& spec) {
  const int64_t group = take_whole(spec.options, "group", "4", 1, kLongestGroup);
  const int64_t bits = take_whole(spec.options, "bits", "23", 1, kWidestAligned);
  if (group << bits > kLargestAligned) complain("group * 2^bits must be at most 2^29.");
  const CastSpec operands = parse_cast(take(spec.options, "operands", "fp16"));
  const CastSpec sums = parse_cast(take(spec.options, "accumulator", "fp32:rtz"));
  if (operands.mantissa_bits > kWidestFactor) complain("operands have at most 10 mantissa bits.");
  if (!cuts_off(sums) && sums.mantissa_bits > kWidestRounded) {
    complain("beside fp32:rtz, accumulators have at most 21 mantissa bits.");
  }
  Arithmetic made = tensor_core(group, static_cast<int32_t>(bits), operands, sums);
  made.chunk = take_whole(spec.options, "promote", "0", 0, kLongestChunk);
  refuse_rest(spec);
  return made;
}

}  // namespace

int64_t Arithmetic::chunk_of(int64_t count) const {
  const int64_t wanted = long_chunk != 0 && count > kLong ? long_chunk : chunk;
  return std::max<int64_t>(wanted != 0 ? wanted : count, 1);
}

bool Arithmetic::stochastic() const {
  return accumulator.rounding == kStochastic || outer.rounding == kStochastic;
}

int64_t Arithmetic::depth_of(int64_t count) const {
  const bool by_twos = step == kOddFirst || step == kEvenOdd || step == kPair || step == kFusedPair;
  return by_twos ? count + count % 2 : count;
}

bool is_float32(const CastSpec& cast) {
  return cast.exponent_bits == 8 && cast.mantissa_bits == 23 && cast.rounding == kNearestEven &&
         cast.flush == 0 && cast.saturate == 0;
}

bool cuts_off(const CastSpec& cast) {
  return cast.exponent_bits == 8 && cast.mantissa_bits == 23 && cast.rounding == kTowardZero &&
         cast.flush == 0 && cast.saturate == 0;
}

CastSpec parse_cast(const std::string& text) {
  const CastSpec spec = read_cast(text);
  if (spec.rounding == kStochastic) complain("stochastic rounding is not offered here.");
  return spec;
}

Arithmetic parse_arithmetic(const std::string& text) {
  Spec spec = parse_spec(text);
  if (const std::optional<Arithmetic> found = find_profile(spec.name)) {
    refuse_rest(spec);
    return *found;
  }
  if (spec.name == "tensor_core") return read_tensor_core(spec);
  Arithmetic made = plain(kFma);
  if (spec.name == "sequential") {
    const std::string format = take(spec.options, "format", "bf16");
    made.accumulator = accumulator(make_cast(format, take(spec.options, "rounding", "rne"), spec));
    return made;
  }
  if (spec.name != "chunked") complain("unknown arithmetic '" + spec.name + "'.");
  made.chunk = take_whole(spec.options, "size", "64", 1, kLongestChunk);
  made.accumulator = accumulator(read_cast(take(spec.options, "inner", "fp32")));
  made.outer = accumulator(read_cast(take(spec.options, "outer", "bf16")));
  refuse_rest(spec);
  return made;
}

}  // namespace onnxbf
