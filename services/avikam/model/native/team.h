/* A team of threads that runs one function together, and where its members meet.
 *
 * A member that waits spins for a moment, for most waits are shorter than falling asleep, then
 * sleeps in the kernel (futex): a core that another program needs is given away instead of burnt.
 * Work is taken piece by piece from a common counter, so a member whose core is taken away holds
 * the others up by one piece at most. Who computes a piece changes no bit of it.
 */
#ifndef AVIKAM_TEAM_H
#define AVIKAM_TEAM_H

#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lanes.h"

enum { SPIN_TICKS = 60000 }; /* of the time-stamp counter: 20 to 30 microseconds */

typedef struct Team Team;

/* One thread's view of the team. */
typedef struct {
    Team *team;
    int id, threads;
} Member;

typedef void Work_function(Member me, const void *what);

/* A number that members wait for to change. */
typedef struct {
    _Alignas(64) int turn;
    int sleepers;
} Bell;

struct Team {
    Bell job, met;
    _Alignas(64) int arrived;
    _Alignas(64) int next; /* piece of work */
    _Alignas(64) int taken;
    int threads; /* that exist, the caller's included */
    pid_t process;
    pthread_t *others;
    Work_function *function;
    const void *what;
    int64_t processor_ns; /* of all members, in the last job */
};

static inline void await(Bell *bell, int seen) {
    const uint64_t began = __rdtsc();
    while (__atomic_load_n(&bell->turn, __ATOMIC_SEQ_CST) == seen) {
        if (__rdtsc() - began < SPIN_TICKS) {
            __builtin_ia32_pause();
            continue;
        }
        __atomic_add_fetch(&bell->sleepers, 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &bell->turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        __atomic_sub_fetch(&bell->sleepers, 1, __ATOMIC_SEQ_CST);
    }
}

static inline void ring(Bell *bell) {
    __atomic_add_fetch(&bell->turn, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&bell->sleepers, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &bell->turn, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Returns when all members have come here; what they wrote before is seen after. */
static inline void meet(Member me) {
    Team *t = me.team;
    if (me.threads == 1) return;
    const int turn = __atomic_load_n(&t->met.turn, __ATOMIC_SEQ_CST);
    if (__atomic_add_fetch(&t->arrived, 1, __ATOMIC_SEQ_CST) < me.threads) {
        await(&t->met, turn);
        return;
    }
    __atomic_store_n(&t->arrived, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&t->next, 0, __ATOMIC_SEQ_CST);
    ring(&t->met);
}

/* The pieces 0..count - 1 that fall to this member, one by one: for (Pieces p = ...; take(&p);)
 * All members go through the same `count` between two meetings. */
typedef struct {
    Member me;
    int64_t count, piece, done;
} Pieces;

static inline Pieces pieces(Member me, int64_t count) { return (Pieces){me, count, -1, 0}; }

static inline int take(Pieces *p) {
    p->piece = p->me.threads == 1 ? p->done++
                                  : __atomic_fetch_add(&p->me.team->next, 1, __ATOMIC_RELAXED);
    return p->piece < p->count;
}

static inline int64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static inline void join_in(Member me) {
    const int64_t began = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    me.team->function(me, me.team->what);
    const int64_t spent = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - began;
    __atomic_add_fetch(&me.team->processor_ns, spent, __ATOMIC_SEQ_CST);
    meet(me);
}

/* A job's number above the lowest byte, how many members it wants in it; none: the team ends. */
enum { JOB = 256, MOST_MEMBERS = JOB - 1 };

typedef struct {
    Team *team;
    int id;
} Start;

static void *live(void *argument) {
    const Start start = *(Start *)argument;
    Team *t = start.team;
    free(argument);
    for (int seen = 0;;) {
        await(&t->job, seen);
        seen = __atomic_load_n(&t->job.turn, __ATOMIC_SEQ_CST);
        const int wanted = seen % JOB;
        if (!wanted) return NULL;
        if (start.id < wanted) join_in((Member){t, start.id, wanted});
    }
}

static void announce(Team *t, int wanted) {
    const int number = t->job.turn / JOB % (INT32_MAX / JOB - 1) + 1;
    __atomic_store_n(&t->job.turn, number * JOB + wanted, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&t->job.sleepers, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &t->job.turn, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* A team of up to `threads`, as many as the system gives; NULL without memory. */
Team *avikam_team_open(int threads) {
    Team *t = aligned_alloc(64, (sizeof(Team) + 63) / 64 * 64);
    if (!t) return NULL;
    if (threads > MOST_MEMBERS) threads = MOST_MEMBERS;
    memset(t, 0, sizeof *t);
    t->process = getpid();
    t->others = calloc((size_t)threads, sizeof *t->others);
    for (t->threads = 1; t->others && t->threads < threads; t->threads++) {
        Start *start = malloc(sizeof *start);
        if (!start) break;
        *start = (Start){t, t->threads};
        if (pthread_create(t->others + t->threads, NULL, live, start)) {
            free(start);
            break;
        }
    }
    return t;
}

void avikam_team_close(Team *t) {
    if (t->process == getpid()) { /* after a fork the other threads are not here */
        announce(t, 0);
        for (int i = 1; i < t->threads; i++) pthread_join(t->others[i], NULL);
    }
    free(t->others);
    free(t);
}

/* How long a job took: on the clock, and of all its members' processor time. */
typedef struct {
    int64_t members, wall_ns, processor_ns;
} Effort;

/* Run `function` with `wanted` members; alone when the team is busy, or was left behind by a fork. */
static Effort together(Team *t, int wanted, Work_function *function, const void *what) {
    const int64_t began = nanoseconds(CLOCK_MONOTONIC);
    if (wanted > t->threads) wanted = t->threads;
    if (wanted < 2 || t->process != getpid() ||
        __atomic_exchange_n(&t->taken, 1, __ATOMIC_ACQUIRE)) {
        const int64_t before = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
        function((Member){t, 0, 1}, what);
        return (Effort){1, nanoseconds(CLOCK_MONOTONIC) - began,
                        nanoseconds(CLOCK_THREAD_CPUTIME_ID) - before};
    }
    t->function = function;
    t->what = what;
    t->processor_ns = 0;
    announce(t, wanted);
    join_in((Member){t, 0, wanted});
    const Effort effort = {wanted, nanoseconds(CLOCK_MONOTONIC) - began, t->processor_ns};
    __atomic_store_n(&t->taken, 0, __ATOMIC_RELEASE);
    return effort;
}

#endif
