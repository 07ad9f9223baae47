// SPDX-License-Identifier: GPL-2.0-only
// What `plugin load` looks for. LAMMPS packages lack lammpsplugin.h, so that its structure is
// declared here; field order and types are LAMMPS's.

#include "compute_symgnn.h"

#include "error.h"
#include "lammps.h"

#include <string>

extern "C" {
struct lammpsplugin_t {
  const char *version;
  const char *style;
  const char *name;
  const char *info;
  const char *author;
  union {
    void *(*v1)(void *);
    void *(*v2)(void *, int, char **);
  } creator;
  void *handle;
};

__attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                              void *regfunc);
}

namespace {

// LAMMPS classes have no stable binary interface, and LAMMPS only logs a difference in version.
void require_same_version(LAMMPS_NS::LAMMPS *lmp) {
  if (lmp->num_ver == SYMGNN_LAMMPS_VERSION) return;
  lmp->error->all(FLERR, "This symgnnplugin.so was compiled for LAMMPS version " +
                             std::to_string(SYMGNN_LAMMPS_VERSION) + ", and this is version " +
                             std::to_string(lmp->num_ver) +
                             ": build the plugin against the headers of this LAMMPS");
}

void *create_compute_symgnn(void *handle, int narg, char **arg) {
  auto *lmp = static_cast<LAMMPS_NS::LAMMPS *>(handle);
  require_same_version(lmp);
  return static_cast<LAMMPS_NS::Compute *>(new LAMMPS_NS::ComputeSymGNN(lmp, narg, arg));
}

}  // namespace

void lammpsplugin_init(void *lmp, void *handle, void *regfunc) {
  auto register_plugin = reinterpret_cast<void (*)(lammpsplugin_t *, void *)>(regfunc);

  lammpsplugin_t plugin{};
  plugin.version = static_cast<LAMMPS_NS::LAMMPS *>(lmp)->version;  // see require_same_version
  plugin.style = "compute";
  plugin.name = "symgnn";
  plugin.info = "compute symgnn: per-atom energy barriers of metallic glasses";
  plugin.author = "the SymGNN developers";
  plugin.creator.v2 = &create_compute_symgnn;
  plugin.handle = handle;
  register_plugin(&plugin, lmp);
}
