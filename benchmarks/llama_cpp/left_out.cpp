// What a build without most of ggml's CUDA sources calls where it comes to one of them.

#include <cstdio>
#include <cstdlib>

extern "C" [[noreturn]] void left_out(const char * name) {
    fprintf(stderr, "this build has no %s\n", name);
    abort();
}
