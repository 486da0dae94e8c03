/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The verb `doctor`: finds and explains the usual trouble. */
#ifndef WEFT_USER_DOCTOR_H
#define WEFT_USER_DOCTOR_H

#include "options.h"

enum weft_exit verb_doctor(const struct options *options);

#endif
