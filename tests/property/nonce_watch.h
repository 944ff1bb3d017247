/* nonce_watch.h: sees every key and number that AES-GCM is asked to encrypt with in this process, whatever becomes of
 * the result. The linker puts it in the way (--wrap, see meson.build). */
#ifndef HF_TESTS_NONCE_WATCH_H
#define HF_TESTS_NONCE_WATCH_H

#include <stddef.h>

/* Forgets what was seen and begins to look. */
void nonce_watch_begin(void);
/* Stops. How often something was sealed, and how often under a key and number that had been used before. */
size_t nonce_watch_end(size_t *repeated);

#endif
