#ifndef SYMGNN_KERNELS_EDGE_EMBEDDING_CUDA_H
#define SYMGNN_KERNELS_EDGE_EMBEDDING_CUDA_H

#include "edge_embedding.h"

namespace symgnn::kernels {

/// The embedding of edges on a GPU. Pointers, stream and result: see edge_attention_cuda.h.
template <typename scalar>
const char *edge_embedding_cuda(const EdgeEmbedding<scalar> &task, void *stream);

}  // namespace symgnn::kernels

#endif
