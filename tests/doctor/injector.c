/* Stands for an injector that /etc/ld.so.preload or LD_PRELOAD names: it is told by its file's name, and does
 * nothing. */
