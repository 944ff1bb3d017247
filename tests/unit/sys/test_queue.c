#include "base/mem.h"
#include "sys/queue.h"
#include "sys/sim.h"

#include "testing.h"

static void *item(size_t *numbers, size_t i) {
  numbers[i] = i;
  return &numbers[i];
}

static void first_in_first_out(void **state) {
  (void)state;
  size_t numbers[8];
  Queue *queue = queue_new(sys_real(), 3);
  assert_int_equal(queue_capacity(queue), 3);
  assert_null(queue_try_pop(queue));
  for (size_t i = 0; i < 3; i++) assert_true(queue_try_push(queue, item(numbers, i)));
  assert_false(queue_try_push(queue, item(numbers, 3)));
  assert_int_equal(queue_len(queue), 3);
  assert_ptr_equal(queue_pop(queue), &numbers[0]);
  assert_true(queue_push(queue, item(numbers, 3)));
  for (size_t i = 1; i < 4; i++) assert_ptr_equal(queue_try_pop(queue), &numbers[i]);
  assert_int_equal(queue_len(queue), 0);
  queue_free(queue);
  queue_free(NULL);
}

static void closing_drains(void **state) {
  (void)state;
  size_t numbers[2];
  Queue *queue = queue_new(sys_real(), 2);
  assert_true(queue_push(queue, item(numbers, 0)));
  queue_close(queue);
  queue_close(queue);
  assert_false(queue_push(queue, item(numbers, 1)));
  assert_false(queue_try_push(queue, item(numbers, 1)));
  assert_ptr_equal(queue_pop(queue), &numbers[0]);
  assert_null(queue_pop(queue));
  queue_free(queue);
}

enum { PRODUCERS = 3, CONSUMERS = 2, MAX_EACH = 2000 };

typedef struct Shared {
  Queue *queue;
  size_t each;
  size_t *numbers; /* how often each item came out */
  Mutex lock;
  size_t next_producer;
  size_t longest; /* seen by anybody */
  bool disordered;
} Shared;

static void produce(void *arg) {
  Shared *s = (Shared *)arg;
  mutex_lock(&s->lock);
  size_t start = s->next_producer++ * s->each;
  mutex_unlock(&s->lock);
  for (size_t i = 0; i < s->each; i++) CHECK(queue_push(s->queue, &s->numbers[start + i]));
}

static void consume(void *arg) {
  Shared *s = (Shared *)arg;
  size_t last[PRODUCERS] = {0}; /* one more than the last item seen of each */
  size_t *got;
  while ((got = (size_t *)queue_pop(s->queue)) != NULL) {
    size_t number = (size_t)(got - s->numbers), len = queue_len(s->queue);
    LOCKED(&s->lock);
    ++*got;
    if (number + 1 <= last[number / s->each]) s->disordered = true;
    last[number / s->each] = number + 1;
    if (len > s->longest) s->longest = len;
  }
}

/* Everything pushed comes out once, each producer's items in order, the queue never longer than its capacity. */
static void run_producers_and_consumers(Sys *sys, size_t capacity, size_t each) {
  Shared s = {.queue = queue_new(sys, capacity), .each = each, .numbers = NEW_ARRAY(size_t, PRODUCERS * each)};
  mutex_init(&s.lock, sys);
  Thread *producers[PRODUCERS], *consumers[CONSUMERS];
  for (int i = 0; i < CONSUMERS; i++) assert_ok(thread_start(sys, "consumer", consume, &s, &consumers[i]));
  for (int i = 0; i < PRODUCERS; i++) assert_ok(thread_start(sys, "producer", produce, &s, &producers[i]));
  for (int i = 0; i < PRODUCERS; i++) thread_join(producers[i]);
  queue_close(s.queue);
  for (int i = 0; i < CONSUMERS; i++) thread_join(consumers[i]);
  for (size_t i = 0; i < PRODUCERS * each; i++) assert_int_equal(s.numbers[i], 1);
  assert_false(s.disordered);
  assert_true(s.longest <= capacity);
  mutex_free(&s.lock);
  queue_free(s.queue);
  free(s.numbers);
}

static void nothing_is_lost(void **state) {
  (void)state;
  run_producers_and_consumers(sys_real(), 1, MAX_EACH);
  run_producers_and_consumers(sys_real(), 7, MAX_EACH);
}

static void nothing_is_lost_in_any_order(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 200; seed++) {
    Sys *sys = sim_new(seed, 2);
    run_producers_and_consumers(sys, 1 + seed % 4, 10);
    sim_free(sys);
  }
}

static void push_forever(void *arg) {
  static size_t one;
  while (queue_push((Queue *)arg, &one)) continue;
}

static void closing_wakes_who_waits(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 50; seed++) {
    Sys *sys = sim_new(seed, 2);
    Queue *queue = queue_new(sys, 2);
    Thread *threads[2];
    for (int i = 0; i < 2; i++) assert_ok(thread_start(sys, "pusher", push_forever, queue, &threads[i]));
    assert_non_null(queue_pop(queue));
    queue_close(queue);
    for (int i = 0; i < 2; i++) thread_join(threads[i]);
    while (queue_pop(queue)) continue;
    queue_free(queue);
    sim_free(sys);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(first_in_first_out),      cmocka_unit_test(closing_drains),
      cmocka_unit_test(nothing_is_lost),         cmocka_unit_test(nothing_is_lost_in_any_order),
      cmocka_unit_test(closing_wakes_who_waits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
