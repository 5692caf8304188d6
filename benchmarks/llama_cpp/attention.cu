// The instances of ggml's flash attention that one query token of these models comes to, one a PART; ggml's own files
// hold more head sizes each, and take minutes.

#if PART == 0
#include "fattn-vec.cuh"
DECL_FATTN_VEC_CASE(128, GGML_TYPE_F16, GGML_TYPE_F16);
DECL_FATTN_VEC_CASE(256, GGML_TYPE_F16, GGML_TYPE_F16);
#else
#include "fattn-mma-f16.cuh"
DECL_FATTN_MMA_F16_CASE(PART, PART, 1, 8);  // one token, 8 query heads a KV head
#endif
