/* The next definition of a function of libc, in the order of the libraries: another preloaded one's, or
 * libc's. */
#ifndef RUNMAIN_ADOPT_NEXT_H
#define RUNMAIN_ADOPT_NEXT_H

/* NULL: there is none, or it cannot be found out. Not in a signal handler. */
void (*adopt_next(const char* name))(void);

#endif
