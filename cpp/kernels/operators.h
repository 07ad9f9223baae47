#ifndef SYMGNN_KERNELS_OPERATORS_H
#define SYMGNN_KERNELS_OPERATORS_H

namespace torch {
class Library;
}

namespace symgnn {

/// Make `symgnn::…` known to torch's dispatcher, once in a process: the Python module and the
/// LAMMPS plugin both carry these operators, and may both be loaded.
void register_operators();

void register_byte_dropout(torch::Library &library);
void register_drag_energies(torch::Library &library);
void register_edge_attention(torch::Library &library);
void register_edge_embedding(torch::Library &library);
void register_edges_shorter_than(torch::Library &library);
void register_embedded_atom(torch::Library &library);
void register_local_densities(torch::Library &library);
void register_shell_sums(torch::Library &library);
void register_cuda_operators(torch::Library &library);  // with SYMGNN_CUDA

}  // namespace symgnn

#endif
