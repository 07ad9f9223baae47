// SPDX-License-Identifier: GPL-2.0-only

// torch first: LAMMPS's headers define macros such as MIN and MAX.
#include "core/annotator.h"
#include "core/dependencies.h"
#include "core/enclosure.h"
#include "core/error.h"
#include "core/evaluation.h"
#include "core/neighbor_list.h"
#include "core/threads.h"

#include <c10/core/InferenceMode.h>

#include "compute_symgnn.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "fix.h"
#include "memory.h"
#include "modify.h"
#include "neighbor.h"
#include "universe.h"
#include "update.h"

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <numeric>
#include <stdexcept>
#include <utility>

using namespace LAMMPS_NS;

namespace {

struct UnitStyle {
  const char *name;
  double angstrom_per_length;
  double energy_per_ev;
};

// CODATA 2018. `lj` is absent: its length has no size in Å.
constexpr UnitStyle UNIT_STYLES[] = {
    {"metal", 1.0, 1.0},                              // eV
    {"real", 1.0, 23.060547830619},                   // kcal/mol
    {"si", 1e10, 1.602176634e-19},                    // J
    {"cgs", 1e8, 1.602176634e-12},                    // erg
    {"electron", 0.529177210903, 0.036749322175655},  // Hartree
    {"micro", 1e4, 1.602176634e-4},                   // pg µm²/µs²
    {"nano", 10.0, 160.2176634},                      // ag nm²/ns²
};

constexpr const char *KEYWORDS[] = {"device", "std", "positions", "threads", "chunk", "skin"};

// An atom is novel to a model above this energy_barrier_ood, and a structure above this share of
// such atoms; python/symgnn/annotator.py has the same.
constexpr double NOVEL = 0.5;
constexpr double USUAL_SHARE = 0.1;

constexpr const char *NOT_YET_KNOWN =
    "atoms were created, deleted or moved since the last run, and ranks do not know each other's "
    "yet: give `run 0` before barriers are asked for";

constexpr std::int64_t DROPPED = -1;  // a row that the graph does not need
constexpr int GHOST_WIDTH = 5;        // numbers about a ghost: position, type, ID

// Of a position, the same whatever atoms stand before it.
std::uint64_t checksum(const double *position) {
  std::uint64_t sum = 0;
  for (int k = 0; k < 3; ++k) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, position + k, sizeof(bits));
    sum = (sum ^ bits) * 0x9e3779b97f4a7c15ULL;
    sum ^= sum >> 32;
  }
  return sum;
}

bool is_keyword(const std::string &word) {
  return std::any_of(std::begin(KEYWORDS), std::end(KEYWORDS),
                     [&word](const char *keyword) { return word == keyword; });
}

std::string number_of_words(int n, const char *noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

// The folder pretrained/ beside the folder of this plugin, as the Python package lays them out.
std::filesystem::path shipped_models() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<void *>(&shipped_models), &info) || !info.dli_fname) return {};
  return std::filesystem::absolute(info.dli_fname).parent_path().parent_path() / "pretrained";
}

// A file as it is given, else a model that ships with SymGNN, by name.
std::string find_model(const std::string &name) {
  if (std::filesystem::exists(name) && !std::filesystem::is_directory(name)) return name;

  std::vector<std::filesystem::path> folders;
  if (const char *folder = std::getenv("SYMGNN_MODELS")) folders.emplace_back(folder);
  folders.push_back(shipped_models());
  std::string looked_at = "./" + name;
  if (std::filesystem::path(name).is_absolute()) looked_at = name;
  for (const auto &folder : folders) {
    const auto candidate = folder / (name + ".pt");
    if (std::filesystem::exists(candidate)) return candidate.string();
    looked_at += ", " + candidate.string();
  }
  throw symgnn::Error("there is no model " + name + "; looked for " + looked_at +
                      ": give the path of a file that symgnn export wrote");
}

}  // namespace

/* ----------------------------------------------------------------------
   Run work that talks to no other rank. If it throws on any of them, all
   of them stop with the message of the first: a rank that carried on alone
   would wait for the others for ever. Work must not call LAMMPS's Error.
------------------------------------------------------------------------- */

template <typename Work>
void ComputeSymGNN::together(Work work) {
  std::string problem;
  int failed = comm->nprocs;
  try {
    work();
  } catch (const std::exception &exception) {
    const bool is_memory = symgnn::tells_of_memory(exception.what());
    problem = symgnn::one_line(is_memory ? symgnn::MemoryError().what() : exception.what());
    failed = comm->me;
  } catch (...) {
    problem = "unknown error";
    failed = comm->me;
  }

  int first = 0;
  MPI_Allreduce(&failed, &first, 1, MPI_INT, MPI_MIN, world);
  if (first == comm->nprocs) return;
  int length = static_cast<int>(problem.size());
  MPI_Bcast(&length, 1, MPI_INT, first, world);
  problem.resize(length);
  MPI_Bcast(problem.data(), length, MPI_CHAR, first, world);
  error->all(FLERR, std::string("Compute symgnn ") + id + ": " + problem);
}

/* ---------------------------------------------------------------------- */

ComputeSymGNN::ComputeSymGNN(LAMMPS *lmp, int narg, char **arg) : Compute(lmp, narg, arg) {
  peratom_flag = 1;
  size_peratom_cols = 0;
  dynamic_group_allow = 1;
  parse(narg, arg);
}

ComputeSymGNN::~ComputeSymGNN() {
  if (copymode) return;
  memory->destroy(vector_atom);
  memory->destroy(array_atom);
}

/* ---------------------------------------------------------------------- */

void ComputeSymGNN::parse(int narg, char **arg) {
  const int first_element = 4;
  const int first_keyword = first_element + atom->ntypes;
  const std::string wanted = "one element name or NULL for each of the " +
                             number_of_words(atom->ntypes, "atom type") + " follows the model";

  const auto *units = std::find_if(
      std::begin(UNIT_STYLES), std::end(UNIT_STYLES),
      [this](const UnitStyle &style) { return strcmp(style.name, update->unit_style) == 0; });
  if (units == std::end(UNIT_STYLES))
    error->all(FLERR, std::string("Compute symgnn does not work with units ") + update->unit_style +
                          ": barriers depend on distances in Angstrom; use units metal");
  angstrom_per_length_ = units->angstrom_per_length;
  energy_per_ev_ = units->energy_per_ev;

  if (narg < first_element) error->all(FLERR, "Compute symgnn needs a model: " + wanted);
  int elements = 0;
  while (first_element + elements < std::min(narg, first_keyword) &&
         !is_keyword(arg[first_element + elements]))
    ++elements;
  if (elements < atom->ntypes)
    error->all(FLERR,
               "Compute symgnn has " + number_of_words(elements, "element name") + ": " + wanted);

  symgnn::AnnotatorOptions options;
  bool std_column = false;
  for (int i = first_keyword; i < narg; i += 2) {
    const std::string keyword = arg[i];
    if (!is_keyword(keyword))
      error->all(
          FLERR, i,
          "Unknown keyword " + keyword +
              " of compute symgnn: it knows device, std, positions, threads, chunk and skin, and " +
              wanted);
    if (i + 1 == narg) error->all(FLERR, i, "Keyword " + keyword + " needs a value");
    const std::string value = arg[i + 1];
    if (keyword == "device") {
      options.device = value;
    } else if (keyword == "std") {
      std_column = utils::logical(FLERR, value, false, lmp) == 1;
    } else if (keyword == "positions") {
      if (value.size() < 3 || value.compare(0, 2, "f_") != 0)
        error->all(FLERR, i + 1,
                   "Keyword positions needs f_ID, with the ID of a fix ave/atom, not " + value);
      positions_fix_id_ = value.substr(2);
    } else if (keyword == "threads") {
      options.threads = utils::inumeric(FLERR, value, false, lmp);
      if (options.threads < 1) error->all(FLERR, i + 1, "Keyword threads needs a positive number");
    } else if (keyword == "chunk") {
      options.chunk = utils::inumeric(FLERR, value, false, lmp);
      if (options.chunk < 1)
        error->all(FLERR, i + 1, "Keyword chunk needs a positive number of atoms");
    } else if (keyword == "skin") {
      options.skin = utils::numeric(FLERR, value, false, lmp) * angstrom_per_length_;
    }
  }

  if (!positions_fix_id_.empty()) positions_fix();
  load(arg[3], options);
  assign_species(arg + first_element);

  const auto &metadata = annotator_->model().metadata();
  outputs_ = static_cast<int>(metadata.outputs.size());
  const auto ood =
      std::find(metadata.outputs.begin(), metadata.outputs.end(), "energy_barrier_ood");
  if (ood != metadata.outputs.end()) ood_column_ = static_cast<int>(ood - metadata.outputs.begin());
  cutoff_ = metadata.cutoff / angstrom_per_length_;
  comm_forward = std::max(static_cast<int>(annotator_->model().node_channels()), GHOST_WIDTH);
  comm_reverse = 1;
  if (std_column) {
    const auto found =
        std::find(metadata.outputs.begin(), metadata.outputs.end(), "energy_barrier_std");
    if (found == metadata.outputs.end())
      error->all(FLERR, std::string("Compute symgnn std yes needs a model that predicts "
                                    "energy_barrier_std, and ") +
                            arg[3] + " does not: leave std out");
    std_column_ = static_cast<int>(found - metadata.outputs.begin());
    size_peratom_cols = 2;
  }
}

/* ---------------------------------------------------------------------- */

void ComputeSymGNN::load(const std::string &model, symgnn::AnnotatorOptions options) {
  options.local_rank = device_number();
  together([&] { annotator_ = std::make_unique<symgnn::Annotator>(find_model(model), options); });
}

void ComputeSymGNN::assign_species(char **elements) {
  together([&] {
    species_of_type_.assign(atom->ntypes + 1, -1);
    for (int type = 1; type <= atom->ntypes; ++type) {
      const std::string element = elements[type - 1];
      if (element != "NULL") species_of_type_[type] = annotator_->model().species_of(element);
    }
  });
}

/* ----------------------------------------------------------------------
   Rank on this node, for `device auto`. The partitions of a -partition run
   count on from one another; asking MPI across them could hang, because a
   script may define the compute in some of them only.
------------------------------------------------------------------------- */

int ComputeSymGNN::device_number() const {
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, comm->me, MPI_INFO_NULL, &node);
  int rank = 0;
  MPI_Comm_rank(node, &rank);
  MPI_Comm_free(&node);
  return universe->root_proc[universe->iworld] + rank;
}

/* ---------------------------------------------------------------------- */

void ComputeSymGNN::init() {
  if (!positions_fix_id_.empty()) positions_fix();
  latest_.barriers.clear();
  prepared_ = comm;
  if (comm->nprocs == 1) return;

  if (comm->mode != Comm::SINGLE)
    error->all(FLERR, "Compute symgnn on several ranks needs comm_modify mode single");
  // Ghosts must be there until the next reneighboring. Averaged positions may each lie cutoff/2
  // away from the present ones, by which LAMMPS chooses ghosts: see set_displacements.
  const double displacements = positions_fix_id_.empty() ? 0.0 : cutoff_;
  comm->cutghostuser = std::max(comm->cutghostuser, cutoff_ + neighbor->skin + displacements);
}

/* ---------------------------------------------------------------------- */

Fix *ComputeSymGNN::positions_fix() const {
  const std::string name = "fix " + positions_fix_id_ + " for compute symgnn " + id;
  Fix *fix = modify->get_fix_by_id(positions_fix_id_);
  if (!fix)
    error->all(FLERR, "There is no " + name + ": define the fix ave/atom before the compute");
  if (!fix->peratom_flag || fix->size_peratom_cols != 3)
    error->all(FLERR, "The " + name +
                          " must give an array of 3 columns per atom: fix ave/atom over "
                          "c_ID[1] c_ID[2] c_ID[3] of a compute property/atom xu yu zu");
  return fix;
}

/* ---------------------------------------------------------------------- */

void ComputeSymGNN::compute_peratom() {
  grow_output();

  displacements_.clear();
  if (!positions_fix_id_.empty()) {
    const Fix *fix = positions_fix();
    if (!averages_exist(fix)) {
      warn_once(warned_no_average_,
                "Fix " + positions_fix_id_ + " has no average yet: barriers are 0 at this step");
      invoked_peratom = update->ntimestep;
      return;
    }
    warned_no_average_ = false;
    set_displacements(fix);
    check_averages(fix);
  }

  atom_of_row_.clear();
  species_.clear();
  positions_.clear();
  add_owned();
  owned_rows_ = static_cast<int>(atom_of_row_.size());
  set_group();
  check_finite();
  if (in_group_ > 0 && is_changed()) {
    latest_.positions = positions_;
    latest_.species = species_;
    latest_.group = group_;
    latest_.box = box();
    latest_.barriers.clear();  // until they are known
    latest_.barriers = comm->nprocs == 1 ? whole_box() : with_ghosts();
  }
  if (in_group_ > 0) {
    assign_output(latest_.barriers);
    if (ood_column_ >= 0 && !warned_novel_) warn_if_novel(latest_.barriers);
  }
  invoked_peratom = update->ntimestep;  // not before: after an error nobody may read the zeros
}

/* ----------------------------------------------------------------------
   Is anything on any rank not as it was when the latest barriers were made?
   LAMMPS asks anew for every dump and for the thermo output of a step.
------------------------------------------------------------------------- */

bool ComputeSymGNN::is_changed() const {
  const bool same = latest_.barriers.size() == static_cast<std::size_t>(owned_rows_) * outputs_ &&
                    latest_.box == box() && latest_.species == species_ &&
                    latest_.group == group_ && latest_.positions == positions_;
  const int changed = same ? 0 : 1;
  int anywhere = 0;
  MPI_Allreduce(&changed, &anywhere, 1, MPI_INT, MPI_MAX, world);
  return anywhere != 0;
}

std::array<double, 12> ComputeSymGNN::box() const {
  const int *periodic = domain->periodicity;
  return {domain->boxlo[0],
          domain->boxlo[1],
          domain->boxlo[2],
          domain->boxhi[0],
          domain->boxhi[1],
          domain->boxhi[2],
          domain->xy,
          domain->xz,
          domain->yz,
          static_cast<double>(periodic[0]),
          static_cast<double>(periodic[1]),
          static_cast<double>(periodic[2])};
}

/* ---------------------------------------------------------------------- */

void ComputeSymGNN::grow_output() {
  if (atom->nmax > output_size_) {
    output_size_ = atom->nmax;
    if (size_peratom_cols == 0) {
      memory->destroy(vector_atom);
      memory->create(vector_atom, output_size_, "symgnn:vector_atom");
    } else {
      memory->destroy(array_atom);
      memory->create(array_atom, output_size_, size_peratom_cols, "symgnn:array_atom");
    }
  }
  const std::size_t values =
      static_cast<std::size_t>(atom->nlocal) * std::max(size_peratom_cols, 1);
  double *first = size_peratom_cols == 0 ? vector_atom : (array_atom ? array_atom[0] : nullptr);
  if (first) std::fill_n(first, values, 0.0);
}

/* ----------------------------------------------------------------------
   Does the fix hold averages at this step? Before the first one it holds
   zeros, and in between the sum of an average that is not finished.
------------------------------------------------------------------------- */

bool ComputeSymGNN::averages_exist(const Fix *fix) const {
  if (update->ntimestep % std::max(fix->peratom_freq, 1) != 0)
    error->all(FLERR, "Fix " + positions_fix_id_ + " has averages every " +
                          std::to_string(fix->peratom_freq) + " steps, and compute symgnn " + id +
                          " was asked for at step " + std::to_string(update->ntimestep) +
                          ": dump, thermo and run lengths must be multiples of that");
  int any = 0;
  for (int i = 0; fix->array_atom && i < atom->nlocal && !any; ++i)
    for (int k = 0; k < 3; ++k)
      if (fix->array_atom[i][k] != 0.0) any = 1;
  int anywhere = 0;
  MPI_Allreduce(&any, &anywhere, 1, MPI_INT, MPI_MAX, world);
  return anywhere != 0;
}

/* ----------------------------------------------------------------------
   Averaged minus present positions of owned atoms. The averages are
   unwrapped; their difference from the unwrapped present position is what
   wrapped atoms can use too.
------------------------------------------------------------------------- */

void ComputeSymGNN::set_displacements(const Fix *fix) {
  const int nlocal = atom->nlocal;
  const double limit = 0.5 * cutoff_;
  displacements_.assign(3 * static_cast<std::size_t>(nlocal), 0.0);

  bigint far = 0;
  for (int i = 0; i < nlocal; ++i) {
    if (!(atom->mask[i] & fix->groupbit)) continue;
    double present[3];
    domain->unmap(atom->x[i], atom->image[i], present);
    double displacement[3];
    double square = 0.0;
    for (int k = 0; k < 3; ++k) {
      displacement[k] = fix->array_atom[i][k] - present[k];
      square += displacement[k] * displacement[k];
    }
    if (square <= limit * limit)
      std::copy_n(displacement, 3, &displacements_[3 * static_cast<std::size_t>(i)]);
    else
      ++far;
  }

  bigint far_anywhere = 0;
  MPI_Allreduce(&far, &far_anywhere, 1, MPI_LMP_BIGINT, MPI_SUM, world);
  if (far_anywhere > 0)
    warn_once(warned_far_average_,
              std::to_string(far_anywhere) +
                  " atoms are farther than half the model's cutoff from "
                  "their average in fix " +
                  positions_fix_id_ +
                  ", and their present positions are "
                  "used: they came or diffused during the average, or it is not over xu yu zu");
}

/* ----------------------------------------------------------------------
   A fix makes no averages while LAMMPS minimizes, and in a rerun only if
   frames come often enough: it keeps old ones, and atoms move away from them
------------------------------------------------------------------------- */

void ComputeSymGNN::check_averages(const Fix *fix) {
  std::uint64_t own[2] = {0, 0};  // of averages and of present positions, in any order of atoms
  for (int i = 0; i < atom->nlocal; ++i) {
    if (!(atom->mask[i] & fix->groupbit)) continue;
    own[0] += checksum(fix->array_atom[i]);
    own[1] += checksum(atom->x[i]);
  }
  decltype(averages_) now{update->ntimestep, {}};
  MPI_Allreduce(own, now.checksums.data(), 2, MPI_UINT64_T, MPI_SUM, world);
  const bool minimizes = update->whichflag == 2 && update->ntimestep != update->firststep;
  const bool is_old = averages_.step >= 0 && averages_.step != now.step &&
                      averages_.checksums[0] == now.checksums[0] &&
                      averages_.checksums[1] != now.checksums[1];
  if (minimizes || is_old)
    error->all(
        FLERR,
        "Fix " + positions_fix_id_ + " made no average for step " +
            std::to_string(update->ntimestep) +
            " and holds an earlier one: fixes do not average while LAMMPS minimizes, nor in a "
            "rerun that follows a run; use a compute symgnn without positions there");
  averages_ = now;
}

/* ----------------------------------------------------------------------
   Of an owned atom, in LAMMPS's units: its present or averaged position
------------------------------------------------------------------------- */

std::array<double, 3> ComputeSymGNN::position_of(int i) const {
  std::array<double, 3> position = {atom->x[i][0], atom->x[i][1], atom->x[i][2]};
  if (!displacements_.empty())
    for (int k = 0; k < 3; ++k) position[k] += displacements_[3 * static_cast<std::size_t>(i) + k];
  return position;
}

/* ----------------------------------------------------------------------
   A row of the graph, if the atom's type has an element
------------------------------------------------------------------------- */

void ComputeSymGNN::add_row(int i, int type, const double *position) {
  const std::int64_t species = species_of_type_[type];
  if (species < 0) return;
  atom_of_row_.push_back(i);
  species_.push_back(species);
  for (int k = 0; k < 3; ++k) positions_.push_back(position[k] * angstrom_per_length_);
}

/* ---------------------------------------------------------------------- */

void ComputeSymGNN::add_owned() {
  std::vector<int> atoms(atom->nlocal);
  std::iota(atoms.begin(), atoms.end(), 0);
  // LAMMPS changes the order of its atoms now and then; a neighbor list with skin must not notice.
  if (comm->nprocs == 1 && annotator_->options().skin > 0.0 && atom->tag_enable)
    std::sort(atoms.begin(), atoms.end(),
              [this](int a, int b) { return atom->tag[a] < atom->tag[b]; });
  for (const int i : atoms) add_row(i, atom->type[i], position_of(i).data());
}

/* ----------------------------------------------------------------------
   Barriers of other atoms are not computed
------------------------------------------------------------------------- */

void ComputeSymGNN::set_group() {
  group_.resize(owned_rows_);
  for (int row = 0; row < owned_rows_; ++row)
    group_[row] = (atom->mask[atom_of_row_[row]] & groupbit) ? 1 : 0;
  const bigint inside = std::count(group_.begin(), group_.end(), 1);
  const bigint counts[2] = {inside, owned_rows_ - inside};
  bigint anywhere[2];
  MPI_Allreduce(counts, anywhere, 2, MPI_LMP_BIGINT, MPI_SUM, world);
  in_group_ = anywhere[0];
  outside_ = anywhere[1];
}

/* ----------------------------------------------------------------------
   Ghosts as their owners have them now. LAMMPS's own copies are older than
   what fixes do to atoms and box at the end of a step, and than what `set`
   does between runs. After commands that create, delete or move atoms they
   are no copies at all, until the next run.
------------------------------------------------------------------------- */

void ComputeSymGNN::add_ghosts() {
  together([this] {
    if (comm != prepared_) throw symgnn::StructureError(NOT_YET_KNOWN);
  });
  const int nlocal = atom->nlocal;
  const int nghost = atom->nghost;
  exchanged_width_ = GHOST_WIDTH;
  exchanged_.assign(GHOST_WIDTH * static_cast<std::size_t>(nlocal + nghost), 0.0);
  for (int i = 0; i < nlocal; ++i) {
    double *numbers = &exchanged_[GHOST_WIDTH * static_cast<std::size_t>(i)];
    const std::array<double, 3> position = position_of(i);
    std::copy_n(position.data(), 3, numbers);
    numbers[3] = atom->type[i];
    numbers[4] = atom->tag_enable ? static_cast<double>(atom->tag[i]) : 0.0;
  }

  exchange_fails_ = false;
  first_received_ = nlocal + nghost;
  received_ = 0;
  exchanges_positions_ = true;
  comm->forward_comm(this, GHOST_WIDTH);
  exchanges_positions_ = false;

  together([&] {
    bool copies = !exchange_fails_ && received_ == nghost && first_received_ == nlocal;
    // Within a run LAMMPS sees to it that ghosts are where they are needed.
    const bool between_runs = update->whichflag == 0;
    const double far = 0.5 * neighbor->skin + (displacements_.empty() ? 0.0 : cutoff_);
    for (int i = nlocal; i < nlocal + nghost && copies; ++i) {
      const double *numbers = &exchanged_[GHOST_WIDTH * static_cast<std::size_t>(i)];
      double square = 0.0;
      for (int k = 0; k < 3; ++k) square += std::pow(numbers[k] - atom->x[i][k], 2);
      copies = !(atom->tag_enable && numbers[4] != static_cast<double>(atom->tag[i])) &&
               !(between_runs && square > far * far);
      if (copies) add_row(i, static_cast<int>(numbers[3]), numbers);
    }
    if (!copies) throw symgnn::StructureError(NOT_YET_KNOWN);
  });
}

/* ----------------------------------------------------------------------
   The core would count atoms from 0; here they have IDs
------------------------------------------------------------------------- */

void ComputeSymGNN::check_finite() {
  together([&] {
    for (int row = 0; row < owned_rows_; ++row)
      for (int k = 0; k < 3; ++k)
        if (!(std::abs(positions_[3 * static_cast<std::size_t>(row) + k]) <= symgnn::kFarthest))
          throw symgnn::StructureError("the position of " + name_of_row(row) +
                                       " is not a finite number, or far away: the simulation "
                                       "blew up; try a shorter timestep");
  });
}

std::string ComputeSymGNN::name_of_row(int row) const {
  if (!atom->tag_enable) return "an atom";
  return "atom " + std::to_string(atom->tag[atom_of_row_[row]]);
}

/* ----------------------------------------------------------------------
   One rank: barriers of all rows from the box and its periodic images
------------------------------------------------------------------------- */

std::vector<double> ComputeSymGNN::whole_box() {
  if (owned_rows_ == 0) return {};

  symgnn::Cell cell;
  cell.vectors = {{{domain->xprd, 0.0, 0.0},
                   {domain->xy, domain->yprd, 0.0},
                   {domain->xz, domain->yz, domain->zprd}}};
  for (auto &vector : cell.vectors)
    for (double &component : vector) component *= angstrom_per_length_;
  for (int k = 0; k < 3; ++k) cell.periodic[k] = domain->periodicity[k] != 0;
  if (domain->dimension == 2) cell.periodic[2] = false;  // LAMMPS too knows no images along z

  std::vector<double> barriers;
  together([&] {
    barriers = annotator_->annotate({positions_.data(), species_.data(),
                                     static_cast<std::size_t>(owned_rows_), cell,
                                     outside_ > 0 ? group_.data() : nullptr});
  });
  return barriers;
}

/* ----------------------------------------------------------------------
   Several ranks: barriers of the owned rows. Ghosts are neighbors only, so
   that one cutoff of them suffices; what they are after each layer comes
   from the ranks that own them. A rank without rows still communicates.
------------------------------------------------------------------------- */

std::vector<double> ComputeSymGNN::with_ghosts() {
  add_ghosts();

  const c10::InferenceMode inference;
  const symgnn::ThreadsGuard threads(annotator_->options().threads);
  symgnn::Model &model = annotator_->model();
  symgnn::Edges graph;
  together([&] {
    if (owned_rows_ > 0) graph = find_graph();
  });
  std::vector<std::int32_t> layers_of_owned;
  if (outside_ > 0) {
    layers_of_owned = layers_of_rows(graph);
    layers_of_owned.resize(owned_rows_);
  }
  std::unique_ptr<symgnn::Evaluation> evaluation;  // none on a rank without rows
  together([&] {
    if (owned_rows_ == 0) return;
    const torch::Tensor species =
        torch::from_blob(species_.data(), {static_cast<std::int64_t>(species_.size())},
                         torch::kInt64)
            .to(model.device());
    evaluation = std::make_unique<symgnn::Evaluation>(model, species, std::move(graph), owned_rows_,
                                                      annotator_->options().chunk, layers_of_owned);
    evaluation->start();
  });
  const std::int64_t layers = model.metadata().layers;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    together([&] {
      if (evaluation) evaluation->step(layer);
    });
    if (layer + 1 < layers) exchange_nodes(evaluation ? evaluation->node() : torch::Tensor());
  }

  std::vector<double> barriers;
  together([&] {
    if (!evaluation) return;
    const torch::Tensor result = evaluation->finish();
    barriers.assign(result.data_ptr<double>(), result.data_ptr<double>() + result.numel());
    for (std::size_t k = 0; k < barriers.size(); ++k)
      if (group_[k / outputs_] && !std::isfinite(barriers[k]))
        throw symgnn::StructureError("the model gives no finite number for " +
                                     name_of_row(static_cast<int>(k / outputs_)) +
                                     "; is the structure like those it was trained on?");
  });
  return barriers;
}

/* ----------------------------------------------------------------------
   The graph around owned rows. Ghosts out of their reach are dropped, so
   that no layer works on them.
------------------------------------------------------------------------- */

symgnn::Edges ComputeSymGNN::find_graph() {
  const auto &metadata = annotator_->model().metadata();
  const auto rows = static_cast<std::int64_t>(atom_of_row_.size());
  symgnn::Edges graph =
      symgnn::find_edges(positions_.data(), rows, owned_rows_, symgnn::Cell{}, metadata.cutoff,
                         metadata.self_edges, metadata.dtype, annotator_->options().threads);
  const std::int64_t edges = graph.index.size(1);
  std::int64_t *neighbor = graph.index.data_ptr<std::int64_t>() + edges;

  std::vector<std::int64_t> new_row(rows, DROPPED);
  std::fill_n(new_row.begin(), owned_rows_, 0);
  for (std::int64_t edge = 0; edge < edges; ++edge) new_row[neighbor[edge]] = 0;
  std::int64_t kept = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    if (new_row[row] == DROPPED) continue;
    atom_of_row_[kept] = atom_of_row_[row];
    species_[kept] = species_[row];
    new_row[row] = kept++;
  }
  atom_of_row_.resize(kept);
  species_.resize(kept);
  for (std::int64_t edge = 0; edge < edges; ++edge) neighbor[edge] = new_row[neighbor[edge]];
  return graph;
}

/* ----------------------------------------------------------------------
   In how many layers owned rows take part, so that the group's barriers
   come out right, on other ranks too
------------------------------------------------------------------------- */

std::vector<std::int32_t> ComputeSymGNN::layers_of_rows(const symgnn::Edges &graph) {
  const auto &metadata = annotator_->model().metadata();
  const auto layers = static_cast<std::int32_t>(metadata.layers);
  std::unique_ptr<symgnn::Dependencies> dependencies;  // none on a rank without rows
  together([&] {
    if (owned_rows_ == 0) return;
    std::vector<std::int32_t> wanted(atom_of_row_.size(), 0);
    for (int row = 0; row < owned_rows_; ++row) wanted[row] = group_[row] ? layers : 0;
    dependencies = std::make_unique<symgnn::Dependencies>(graph, metadata.reach, std::move(wanted));
  });
  exchanged_width_ = 1;
  for (std::int32_t layer = layers - 1; layer > 0; --layer) {
    exchanged_.assign(static_cast<std::size_t>(atom->nlocal + atom->nghost), 0.0);
    if (dependencies) {
      dependencies->step(layer);
      for (std::size_t row = 0; row < atom_of_row_.size(); ++row)
        exchanged_[atom_of_row_[row]] = dependencies->layers()[row];
    }
    comm->reverse_comm(this, 1);
    for (int row = 0; row < owned_rows_; ++row)
      dependencies->layers()[row] = static_cast<std::int32_t>(exchanged_[atom_of_row_[row]]);
  }
  return dependencies ? std::move(dependencies->layers()) : std::vector<std::int32_t>();
}

/* ----------------------------------------------------------------------
   After a layer, rows of ghosts are what their owners computed
------------------------------------------------------------------------- */

void ComputeSymGNN::exchange_nodes(torch::Tensor node) {
  // A rank without rows has no features, and learns from the others how wide they are.
  const int own_width = node.defined() ? static_cast<int>(node.size(1)) : 0;
  MPI_Allreduce(&own_width, &exchanged_width_, 1, MPI_INT, MPI_MAX, world);
  if (exchanged_width_ == 0) return;
  if (exchanged_width_ > comm_forward)
    error->all(FLERR,
               "Compute symgnn {}: a layer of the model is wider than its first features: "
               "export it again",
               id);
  const std::size_t width = exchanged_width_;
  const std::int64_t ghosts =
      node.defined() ? static_cast<std::int64_t>(atom_of_row_.size()) - owned_rows_ : 0;
  exchanged_.assign(width * static_cast<std::size_t>(atom->nlocal + atom->nghost), 0.0);

  together([&] {
    if (!node.defined()) return;
    const torch::Tensor owned =
        node.narrow(0, 0, owned_rows_).to(torch::kCPU, torch::kFloat64).contiguous();
    const double *values = owned.data_ptr<double>();
    for (int row = 0; row < owned_rows_; ++row)
      std::copy_n(values + width * row, width, &exchanged_[width * atom_of_row_[row]]);
  });
  comm->forward_comm(this, exchanged_width_);
  together([&] {
    if (ghosts == 0) return;
    torch::Tensor received =
        torch::empty({ghosts, exchanged_width_}, torch::TensorOptions().dtype(torch::kFloat64));
    double *values = received.data_ptr<double>();
    for (std::int64_t ghost = 0; ghost < ghosts; ++ghost)
      std::copy_n(&exchanged_[width * atom_of_row_[owned_rows_ + ghost]], width,
                  values + width * ghost);
    node.narrow(0, owned_rows_, ghosts).copy_(received);
  });
}

int ComputeSymGNN::pack_forward_comm(int n, int *list, double *buffer, int pbc_flag, int *pbc) {
  double shift[3] = {0.0, 0.0, 0.0};  // as AtomVec::pack_comm has it
  if (exchanges_positions_ && pbc_flag) {
    shift[0] = pbc[0] * domain->xprd + pbc[5] * domain->xy + pbc[4] * domain->xz;
    shift[1] = pbc[1] * domain->yprd + pbc[3] * domain->yz;
    shift[2] = pbc[2] * domain->zprd;
  }
  const std::size_t width = exchanged_width_;
  for (int i = 0; i < n; ++i) {
    const std::size_t first = width * list[i];
    double *numbers = buffer + width * i;
    if (first + width > exchanged_.size()) {
      exchange_fails_ = true;
      std::fill_n(numbers, width, 0.0);
      continue;
    }
    std::copy_n(&exchanged_[first], width, numbers);
    if (exchanges_positions_)
      for (int k = 0; k < 3; ++k) numbers[k] += shift[k];
  }
  return n * exchanged_width_;
}

void ComputeSymGNN::unpack_forward_comm(int n, int first, double *buffer) {
  const std::size_t width = exchanged_width_;
  first_received_ = std::min(first_received_, first);
  received_ += n;
  if (width * (static_cast<std::size_t>(first) + n) > exchanged_.size())
    exchange_fails_ = true;
  else
    std::copy_n(buffer, width * n, exchanged_.begin() + width * first);
}

int ComputeSymGNN::pack_reverse_comm(int n, int first, double *buffer) {
  std::copy_n(exchanged_.begin() + first, n, buffer);
  return n;
}

void ComputeSymGNN::unpack_reverse_comm(int n, int *list, double *buffer) {
  for (int i = 0; i < n; ++i) exchanged_[list[i]] = std::max(exchanged_[list[i]], buffer[i]);
}

/* ---------------------------------------------------------------------- */

void ComputeSymGNN::assign_output(const std::vector<double> &barriers) {
  for (int row = 0; row < owned_rows_; ++row) {
    const int i = atom_of_row_[row];
    if (!(atom->mask[i] & groupbit)) continue;
    const double *outputs = &barriers[static_cast<std::size_t>(row) * outputs_];
    if (std_column_ < 0) {
      vector_atom[i] = outputs[0] * energy_per_ev_;
    } else {
      array_atom[i][0] = outputs[0] * energy_per_ev_;
      array_atom[i][1] = outputs[std_column_] * energy_per_ev_;
    }
  }
}

/* ---------------------------------------------------------------------- */

void ComputeSymGNN::warn_if_novel(const std::vector<double> &barriers) {
  bigint counts[2] = {0, 0};  // atoms, and those in surroundings unlike the training structures
  for (int row = 0; row < owned_rows_; ++row) {
    if (!(atom->mask[atom_of_row_[row]] & groupbit)) continue;
    ++counts[0];
    if (barriers[static_cast<std::size_t>(row) * outputs_ + ood_column_] > NOVEL) ++counts[1];
  }
  bigint anywhere[2];
  MPI_Allreduce(counts, anywhere, 2, MPI_LMP_BIGINT, MPI_SUM, world);
  const double share = anywhere[0] > 0 ? static_cast<double>(anywhere[1]) / anywhere[0] : 0.0;
  if (share > USUAL_SHARE)
    warn_once(warned_novel_,
              std::to_string(static_cast<int>(std::lround(100.0 * share))) +
                  "% of the atoms have surroundings unlike those that the model was trained on: do "
                  "not trust their barriers; does positions name an average over 1 ps, and is this "
                  "the model's alloy and density?");
}

/* ---------------------------------------------------------------------- */

void ComputeSymGNN::warn_once(bool &warned, const std::string &message) {
  if (!warned && comm->me == 0)
    error->warning(FLERR, std::string("Compute symgnn ") + id + ": " + message);
  warned = true;
}

/* ----------------------------------------------------------------------
   Bytes of arrays that last; the network's own come and go within a call
------------------------------------------------------------------------- */

double ComputeSymGNN::memory_usage() {
  const double output = static_cast<double>(output_size_) * std::max(size_peratom_cols, 1);
  const std::size_t doubles = positions_.capacity() + displacements_.capacity() +
                              exchanged_.capacity() + latest_.positions.capacity() +
                              latest_.barriers.capacity();
  const std::size_t integers = species_.capacity() + latest_.species.capacity();
  return sizeof(double) * (output + doubles) + sizeof(std::int64_t) * integers +
         sizeof(int) * atom_of_row_.capacity();
}
