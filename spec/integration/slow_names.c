/* slow_names.c: preloaded, it makes every name lookup of "*.slow.invalid" hang for three seconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
  static int (*original)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  if (original == NULL) *(void **)&original = dlsym(RTLD_NEXT, "getaddrinfo");
  if (node != NULL && strstr(node, ".slow.invalid") != NULL) {
    sleep(3);
    return EAI_NONAME;
  }
  return original(node, service, hints, found);
}
