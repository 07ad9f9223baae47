// SPDX-License-Identifier: GPL-2.0-only
#ifndef LMP_COMPUTE_SYMGNN_H
#define LMP_COMPUTE_SYMGNN_H

#include "compute.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace at {
class Tensor;
}

namespace symgnn {
class Annotator;
struct AnnotatorOptions;
struct Edges;
}  // namespace symgnn

namespace LAMMPS_NS {

/// Energy barrier of every atom in the group, predicted by an exported SymGNN.
///
/// One rank hands the whole periodic box to symgnn::Annotator. Several ranks run the same network
/// in steps over owned atoms and ghosts, and exchange node features between its layers.
/// User documentation: docs/compute_symgnn.md.
class ComputeSymGNN : public Compute {
 public:
  ComputeSymGNN(class LAMMPS *lmp, int narg, char **arg);
  ~ComputeSymGNN() override;

  void init() override;
  void compute_peratom() override;
  int pack_forward_comm(int n, int *list, double *buffer, int pbc_flag, int *pbc) override;
  void unpack_forward_comm(int n, int first, double *buffer) override;
  int pack_reverse_comm(int n, int first, double *buffer) override;
  void unpack_reverse_comm(int n, int *list, double *buffer) override;
  double memory_usage() override;

 private:
  void parse(int narg, char **arg);
  void load(const std::string &model, symgnn::AnnotatorOptions options);
  void assign_species(char **elements);
  int device_number() const;

  class Fix *positions_fix() const;
  bool averages_exist(const class Fix *fix) const;
  void set_displacements(const class Fix *fix);
  void check_averages(const class Fix *fix);

  void grow_output();
  std::array<double, 3> position_of(int i) const;
  void add_row(int i, int type, const double *position);
  void add_owned();
  void set_group();
  void add_ghosts();
  void check_finite();
  std::string name_of_row(int row) const;
  bool is_changed() const;
  std::array<double, 12> box() const;
  std::vector<double> whole_box();
  std::vector<double> with_ghosts();
  symgnn::Edges find_graph();
  std::vector<std::int32_t> layers_of_rows(const symgnn::Edges &graph);
  void exchange_nodes(at::Tensor node);
  void assign_output(const std::vector<double> &barriers);
  void warn_if_novel(const std::vector<double> &barriers);
  void warn_once(bool &warned, const std::string &message);

  template <typename Work>
  void together(Work work);

  std::unique_ptr<symgnn::Annotator> annotator_;
  std::vector<std::int64_t> species_of_type_;  ///< index is the atom type; -1 for NULL
  std::string positions_fix_id_;               ///< empty: present positions
  int outputs_ = 0;                            ///< columns that the network returns
  int std_column_ = -1;                        ///< column of the standard uncertainty, if asked
  int ood_column_ = -1;                        ///< column of the novelty, if the model has it
  double angstrom_per_length_ = 1.0;
  double energy_per_ev_ = 1.0;
  double cutoff_ = 0.0;             ///< in LAMMPS units of length
  class Comm *prepared_ = nullptr;  ///< knew of ghosts' reach before the latest run
  struct {
    bigint step = -1;
    std::array<std::uint64_t, 2> checksums{};  ///< of averages, and of present positions
  } averages_;                                 ///< when they were last used
  bool warned_no_average_ = false;
  bool warned_far_average_ = false;
  bool warned_novel_ = false;

  // The graph's rows: atoms that take part, owned ones first.
  std::vector<int> atom_of_row_;
  std::vector<std::int64_t> species_;
  std::vector<double> positions_;  ///< rows × 3, Å
  int owned_rows_ = 0;
  std::vector<std::uint8_t> group_;    ///< of owned rows: is the atom in the group?
  bigint in_group_ = 0, outside_ = 0;  ///< rows on all ranks

  /// What the latest barriers belong to: rows of owned atoms in their order, and the box.
  struct {
    std::vector<double> positions;
    std::vector<std::int64_t> species;
    std::vector<std::uint8_t> group;
    std::array<double, 12> box{};
    std::vector<double> barriers;  ///< rows × outputs
  } latest_;

  std::vector<double> displacements_;  ///< nlocal × 3 to averaged positions; empty without

  // Per-atom numbers that travel from owners to ghosts: positions and who they are, then node
  // features; and from ghosts to owners: in how many layers they take part.
  std::vector<double> exchanged_;  ///< (nlocal + nghost) × exchanged_width_
  int exchanged_width_ = 0;
  bool exchanges_positions_ = false;  ///< the first three are positions: images are shifted
  bool exchange_fails_ = false;       ///< LAMMPS's lists name atoms that are not there
  int first_received_ = 0;
  int received_ = 0;

  int output_size_ = 0;  ///< atoms that vector_atom or array_atom has room for
};

}  // namespace LAMMPS_NS

#endif
