/* names.h: which names in a store are objects of a repository (docs/format.md, section 2). People and programs leave
 * other files among them: notes, copies, what a sync program renamed. Those are nobody's damage and stop nothing. */
#ifndef HF_REPO_NAMES_H
#define HF_REPO_NAMES_H

#include "base/base.h"

/* True when the key has the form of an object's name, whether or not this version writes such objects. */
bool name_is_object(const char *key);

#endif
