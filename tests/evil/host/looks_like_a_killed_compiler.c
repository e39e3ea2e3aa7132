/* build_failed | host: its error message reads as if the compiler had been killed */
#include "common.h"

#error Killed signal terminated program cc1
