/* queue.h: a bounded queue through which ownership moves between threads. Fixed capacity, allocated once. */
#ifndef HF_SYS_QUEUE_H
#define HF_SYS_QUEUE_H

#include "sys/sys.h"

typedef struct Queue Queue;

Queue *queue_new(Sys *sys, size_t capacity);
void queue_free(Queue *take); /* items still inside are the caller's to have drained */
/* Waits for room. False when the queue is closed (the item stays the caller's). item must not be NULL. */
bool queue_push(Queue *queue, void *item);
/* Waits for an item. NULL when the queue is closed and empty. */
void *queue_pop(Queue *queue);
void *queue_try_pop(Queue *queue);             /* NULL when empty */
bool queue_try_push(Queue *queue, void *item); /* false when full or closed */
/* No more pushes; pops drain what is there, then yield NULL. Idempotent. */
void queue_close(Queue *queue);
size_t queue_len(Queue *queue);
size_t queue_capacity(const Queue *queue);

#endif
