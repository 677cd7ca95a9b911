// Which instruction sets this CPU has, and which one is used.
#include <cstdlib>
#include <cstring>

#include "amx.h"
#include "bfloat16_instruction.h"
#include "instruction_sets.h"

namespace onnxbf {

namespace scalar {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace avx512_bf16 {
extern const PairsFunction pairs;
}
namespace avx512_stand_in {
extern const PairsFunction pairs;
extern const PairTiles pair_tiles;
}
namespace avx512_amx {
extern const PairTiles pair_tiles;
}
namespace neon {
extern const Kernels kernels;
}

namespace {

#if defined(ONNXBF_X86_KERNELS)
Kernels with_instructions(const char* name, PairsFunction pairs, const PairTiles* pair_tiles) {
  Kernels made = avx512::kernels;
  made.name = name;
  made.tiles.bfloat16_pairs = pairs;
  made.tiles.pair_tiles = pair_tiles;
  return made;
}
const Kernels stand_in_kernels =
    with_instructions("avx512_stand_in", avx512_stand_in::pairs, &avx512_stand_in::pair_tiles);
#if defined(ONNXBF_AVX512_BF16_KERNELS)
const Kernels avx512_bf16_kernels = with_instructions("avx512_bf16", avx512_bf16::pairs, nullptr);
#endif
#if defined(ONNXBF_AMX_KERNELS)
// Without VDPBF16PS: CPUs with AMX emulate it sooner than they execute it.
const Kernels avx512_amx_kernels =
    with_instructions("avx512_amx", nullptr, &avx512_amx::pair_tiles);
#endif

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
}
#endif

bool always() { return true; }

struct InstructionSet {
  const Kernels* kernels;
  bool (*present)();
  bool (*worthwhile)() = always;  // to be chosen where nobody names it
};

// For tests: found by name, and never chosen or listed.
#if defined(ONNXBF_X86_KERNELS)
const InstructionSet kHidden[] = {{&stand_in_kernels, has_avx512}};
#else
const InstructionSet kHidden[] = {{&scalar::kernels, [] { return false; }}};
#endif

// Best last.
const InstructionSet kInstructionSets[] = {
    {&scalar::kernels, always},
#if defined(ONNXBF_X86_KERNELS)
    {&avx2::kernels,
     [] { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0; }},
    {&avx512::kernels, has_avx512},
#if defined(ONNXBF_AVX512_BF16_KERNELS)
    {&avx512_bf16_kernels, [] { return has_avx512() && executes_bfloat16(); },
     [] { return announces_bfloat16() && bfloat16_is_faster(); }},
#endif
#if defined(ONNXBF_AMX_KERNELS)
    {&avx512_amx_kernels, [] { return has_avx512() && has_amx(); }},
#endif
#elif defined(ONNXBF_NEON_KERNELS)
    {&neon::kernels, always},
#endif
};

const Kernels& choose() {
  const char* wanted = std::getenv("ONNXBF_INSTRUCTION_SET");
  if (wanted != nullptr && *wanted != '\0') {
    const Kernels* found = find_kernels(wanted);
    return found != nullptr ? *found : scalar::kernels;
  }
  const Kernels* best = &scalar::kernels;
  for (const InstructionSet& set : kInstructionSets) {
    if (set.worthwhile() && set.present()) best = set.kernels;
  }
  return *best;
}

}  // namespace

const Kernels* find_kernels(const char* name) {
  const auto is_meant = [&](const InstructionSet& set) {
    return std::strcmp(set.kernels->name, name) == 0 && set.present();
  };
  for (const InstructionSet& set : kInstructionSets) {
    if (is_meant(set)) return set.kernels;
  }
  for (const InstructionSet& set : kHidden) {
    if (is_meant(set)) return set.kernels;
  }
  return nullptr;
}

const char* instruction_set_name(int32_t index) {
  for (const InstructionSet& set : kInstructionSets) {
    if (set.present() && index-- == 0) return set.kernels->name;
  }
  return nullptr;
}

const Kernels& chosen_kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

const char* instruction_set() { return chosen_kernels().name; }

}  // namespace onnxbf
