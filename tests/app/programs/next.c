/* A library that is preloaded before another of its kind, and asks for the next "said" after itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

#ifdef FIRST
const char *said(void) { return "first"; }
const char *next(void) {
    const char *(*other)(void) = (const char *(*)(void))dlsym(RTLD_NEXT, "said");
    return other ? other() : "none";
}
#elif defined SECOND
const char *said(void) { return "second"; }
#else
const char *next(void);
int main(void) { return puts(next()) < 0; }
#endif
