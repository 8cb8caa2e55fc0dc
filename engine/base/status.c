#include "engine/base/status.h"

#include <errno.h>

static const struct {
    const char *text;
    enum status_blame blame;
} statuses[STATUS_COUNT] = {
#define X(name, blame, text) [name] = {text, BLAME_##blame},
#include "engine/base/status.def"
#undef X
};

const char *status_text(enum status st)
{
    return (unsigned)st < STATUS_COUNT ? statuses[st].text : "unknown status";
}

enum status_blame status_blame(enum status st)
{
    return (unsigned)st < STATUS_COUNT ? statuses[st].blame : BLAME_SERVER;
}

enum status status_from_errno(int err)
{
    switch (err) {
    case 0:
        return OK;
    case ENOENT:
        return NOT_FOUND;
    case EAGAIN:
    case EINTR:
    case EBUSY:
        return AGAIN;
    case EINVAL:
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
        return INVALID;
    case EFBIG:
    case E2BIG:
    case ENAMETOOLONG:
    case EOVERFLOW:
    case EMSGSIZE:
        return TOO_BIG;
    case ENOMEM:
        return NO_MEMORY;
    case ENOSPC:
    case EDQUOT:
        return NO_SPACE;
    case EPIPE:
    case ECONNRESET:
    case ESHUTDOWN:
    case ECANCELED:
        return CLOSED;
    default:
        return IO;
    }
}
