// Times operations of ggml's CUDA backend at given shapes, weights cold or warm: a case a line on standard input, a
// JSON object a line out. Written against ggml's public headers.
//
//   NAME cold|warm mul_mat     TYPE ROWS COLUMNS TOKENS
//   NAME cold|warm mul_mat_id  TYPE ROWS COLUMNS EXPERTS TOP TOKENS
//   NAME cold|warm experts     TYPE DOWN_TYPE HIDDEN WIDTH EXPERTS TOP TOKENS     gate, up, SwiGLU and down
//   NAME cold|warm flash_attn  HEADS KV_HEADS HEAD_DIM CONTEXT BATCH              f16 cache, a token's heads together
//   NAME cold|warm delta_net   K_HEADS V_HEADS BATCH                              128 x 128 of state a value head
//
// A graph holds many groups, each with outputs of its own. Cold: groups take turns on copies of the weights (cache,
// state) that total four times L2, and each token takes experts that no other of its turn takes. Warm: one copy, one
// choice of experts. Graphs are enqueued one behind another, as ggml's CUDA graphs; a sample is wall time over groups.
// Some elements of the first and the last group are compared with double precision: `nmse`, which holds the error of
// ggml's own rounding of activations to int8.

#include "ggml-cuda.h"
#include "operations.h"

#include <cuda_runtime_api.h>

#include <cstdio>
#include <iostream>
#include <map>

int main() {
    ggml_backend_t backend = ggml_backend_cuda_init(0);
    int l2 = 0;
    if (!backend || cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, 0) != cudaSuccess) {
        fprintf(stderr, "no CUDA device\n");
        return 4;
    }
    const std::map<std::string, std::function<void(Case &, std::istringstream &)>> kinds = {
        {"mul_mat", mul_mat},
        {"mul_mat_id", [](Case & c, std::istringstream & line) { routed(c, line, false); }},
        {"experts", [](Case & c, std::istringstream & line) { routed(c, line, true); }},
        {"flash_attn", flash_attn},
        {"delta_net", delta_net},
    };
    std::string text;
    while (std::getline(std::cin, text)) {
        std::istringstream line(text);
        std::string name, mode, kind;
        line >> name >> mode >> kind;
        printf("{\"case\": \"%s\", \"mode\": \"%s\", ", name.c_str(), mode.c_str());
        try {
            Case one(backend, mode == "cold", l2);
            kinds.at(kind)(one, line);
            one.allocate();
            printf("%s}\n", one.run().c_str());
        } catch (const std::exception & error) {
            printf("\"error\": \"%s\"}\n", error.what());
        }
        fflush(stdout);
    }
    ggml_backend_free(backend);
    return 0;
}
