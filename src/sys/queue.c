#include "sys/queue.h"

#include "base/mem.h"

struct Queue {
  Mutex lock;
  Cond not_full;
  Cond not_empty;
  /* below: under lock */
  size_t capacity; /* immutable */
  size_t first;
  size_t len;
  bool closed;
  void *items[];
};

Queue *queue_new(Sys *sys, size_t capacity) {
  CHECK(capacity > 0 && capacity <= SIZE_MAX / sizeof(void *) / 2);
  Queue *queue = (Queue *)mem_alloc(sizeof(Queue) + capacity * sizeof(void *));
  mutex_init(&queue->lock, sys);
  cond_init(&queue->not_full, sys);
  cond_init(&queue->not_empty, sys);
  queue->capacity = capacity;
  return queue;
}

void queue_free(Queue *take) {
  if (!take) return;
  cond_free(&take->not_empty);
  cond_free(&take->not_full);
  mutex_free(&take->lock);
  free(take);
}

static void put(Queue *queue, void *item) {
  queue->items[(queue->first + queue->len++) % queue->capacity] = item;
  cond_signal(&queue->not_empty);
}

static void *take_first(Queue *queue) {
  if (queue->len == 0) return NULL;
  void *item = queue->items[queue->first];
  queue->first = (queue->first + 1) % queue->capacity;
  queue->len--;
  cond_signal(&queue->not_full);
  return item;
}

bool queue_push(Queue *queue, void *item) {
  CHECK(item);
  LOCKED(&queue->lock);
  while (queue->len == queue->capacity && !queue->closed) cond_wait(&queue->not_full, &queue->lock);
  if (queue->closed) return false;
  put(queue, item);
  return true;
}

void *queue_pop(Queue *queue) {
  LOCKED(&queue->lock);
  while (queue->len == 0 && !queue->closed) cond_wait(&queue->not_empty, &queue->lock);
  return take_first(queue);
}

void *queue_try_pop(Queue *queue) {
  LOCKED(&queue->lock);
  return take_first(queue);
}

bool queue_try_push(Queue *queue, void *item) {
  CHECK(item);
  LOCKED(&queue->lock);
  if (queue->closed || queue->len == queue->capacity) return false;
  put(queue, item);
  return true;
}

void queue_close(Queue *queue) {
  LOCKED(&queue->lock);
  queue->closed = true;
  cond_broadcast(&queue->not_full);
  cond_broadcast(&queue->not_empty);
}

size_t queue_len(Queue *queue) {
  LOCKED(&queue->lock);
  return queue->len;
}

size_t queue_capacity(const Queue *queue) { return queue->capacity; }
