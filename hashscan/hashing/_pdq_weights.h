/* The weights by which a side is reduced to 64 places: the same as `pdq_reduction._matrix`, to the last bit, whose
 * words are used here. Made anew for each size of picture, so they have to be made fast. */

enum { PLAIN, SQUARED, ENLARGED, RENDERINGS };
#define SQUARE 512
#define ENLARGEMENT 4

typedef struct {
    int64_t length; /* Of the side as it is stored. */
    int64_t factor; /* By which it is reduced already. */
    int64_t kept;
    int rendering, mirrored;
} Side;

/* A row's weights, one behind the other for neighbouring inputs. */
typedef struct {
    int64_t start, number;
    float *weights;
} Row;

static int64_t rendered(const Side *side)
{
    return side->rendering == SQUARED ? SQUARE
           : side->rendering == ENLARGED ? side->length * ENLARGEMENT
                                         : side->length;
}

/* The tent at a place that is kept: its first input; how many weights there are in `tent`, room for two windows. */
static int64_t pitch(int64_t length, int64_t place, float *tent, double *steps, int64_t *number)
{
    Window window = window_for(length);
    int64_t centre = kept_position(place, length), size = window.before + window.after + 1;
    int64_t low = centre - 2 * window.before;
    if (low >= 0 && centre + 2 * window.after < length) {
        double area = (double)size * (double)size;
        *number = 2 * size - 1;
        for (int64_t at = 0; at < size; at++)
            tent[at] = tent[2 * size - 2 - at] = (float)((double)(at + 1) / area);
        return low;
    }
    int64_t first = centre - window.before, last = centre + window.after;
    first = first > 0 ? first : 0;
    last = last < length - 1 ? last : length - 1;
    low = first - window.before > 0 ? first - window.before : 0;
    int64_t high = (last + window.after < length - 1 ? last + window.after : length - 1) + 1;
    double *begun = steps, *ended = steps + (high - low + 1), sum = 0;
    memset(steps, 0, (size_t)(2 * (high - low + 1)) * sizeof *steps);
    for (int64_t inner = first; inner <= last; inner++) {
        int64_t from = inner - window.before > 0 ? inner - window.before : 0;
        int64_t to = (inner + window.after < length - 1 ? inner + window.after : length - 1) + 1;
        double share = 1.0 / (double)((to - from) * (last - first + 1));
        begun[from - low] += share;
        ended[to - low] += share;
    }
    *number = high - low;
    for (int64_t at = 0; at < *number; at++) {
        sum += begun[at] - ended[at];
        tent[at] = (float)sum;
    }
    return low;
}

/* A row of the matrix, by way of its tent; `sums` has room for two. */
static void weigh(const Side *side, int64_t place, int64_t room, float *tent, double *sums, Row *row)
{
    int64_t length = rendered(side), number, last = side->kept - 1;
    int64_t low = pitch(length, side->mirrored ? SIDE - 1 - place : place, tent, sums, &number);
    int64_t most = 0;
    double *after = sums + room;
    memset(sums, 0, (size_t)(2 * room) * sizeof *sums);
    row->start = -1;
    for (int64_t at = 0; at < number; at++) {
        int64_t from = side->mirrored ? low + number - 1 - at : low + at, input;
        double weight = (double)tent[side->mirrored ? number - 1 - at : at], share = 0;
        if (side->rendering == SQUARED) {
            int64_t nearest = from * side->length / length;
            input = (side->mirrored ? side->length - 1 - nearest : nearest) / side->factor;
        } else {
            int64_t shown = side->mirrored ? length - 1 - from : from;
            input = shown / side->factor;
            if (side->rendering == ENLARGED) {
                double between = ((double)shown + 0.5) / (double)(ENLARGEMENT * side->factor) - 0.5;
                between = between > 0 ? between : 0;
                between = between < (double)last ? between : (double)last;
                input = (int64_t)between;
                share = between - (double)input;
            }
        }
        if (row->start < 0)
            row->start = input;
        most = input - row->start;
        sums[most] += side->rendering == ENLARGED ? weight * (1 - share) : weight;
        if (side->rendering == ENLARGED)
            after[most + 1] += weight * share;
    }
    row->number = 0;
    for (int64_t at = 0; at <= most + 1; at++) {
        row->weights[at] = (float)(side->rendering == ENLARGED ? sums[at] + after[at] : sums[at]);
        if (row->weights[at] != 0)
            row->number = at + 1;
    }
    /* Behind a row's last weight there may be no inputs. */
    if (row->number > side->kept - row->start)
        row->number = side->kept - row->start;
}

/* Spans and weights of a side in some ways, as `reduce` takes them. */
static PyObject *weights(PyObject *module, PyObject *arguments)
{
    long long length, kept, factor;
    const unsigned char *ways;
    Py_ssize_t size;
    PyObject *spans = NULL, *table = NULL, *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "LLLy#", &length, &kept, &factor, &ways, &size))
        return NULL;
    if (length < 1 || length > INT32_MAX || factor < 1 || kept != (length + factor - 1) / factor || size < 2
        || size > 2 * WAYS_MAX || size % 2) {
        PyErr_SetString(PyExc_ValueError, "the sizes don't fit together");
        return NULL;
    }
    for (Py_ssize_t way = 0; way < size; way += 2)
        if (ways[way] >= RENDERINGS || ways[way + 1] > 1) {
            PyErr_SetString(PyExc_ValueError, "there is no such way");
            return NULL;
        }
    int64_t most = 0, places = size / 2 * SIDE, widest = length * ENLARGEMENT > SQUARE ? length * ENLARGEMENT : SQUARE;
    Window window = window_for(widest);
    /* For two windows, and for the pixels between those of a smaller square. */
    int64_t room = 2 * (window.before + window.after + 1) + 2;
    float *tent = malloc((size_t)room * sizeof *tent), *rows = malloc((size_t)(places * room) * sizeof *rows);
    double *sums = malloc((size_t)(2 * room) * sizeof *sums);
    Row *row = malloc((size_t)places * sizeof *row);
    if (!tent || !rows || !sums || !row) {
        PyErr_NoMemory();
        goto done;
    }
    for (int64_t place = 0; place < places; place++) {
        Side side = {length, factor, kept, ways[place / SIDE * 2], ways[place / SIDE * 2 + 1]};
        row[place].weights = rows + place * room;
        weigh(&side, place % SIDE, room, tent, sums, &row[place]);
        most = row[place].number > most ? row[place].number : most;
    }
    spans = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(2 * places * 4));
    table = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(places * most * 4));
    if (spans && table) {
        int32_t *span = (int32_t *)(void *)PyBytes_AsString(spans);
        float *weight = (float *)(void *)PyBytes_AsString(table);
        memset(weight, 0, (size_t)(places * most) * sizeof *weight);
        for (int64_t place = 0; place < places; place++) {
            span[2 * place] = (int32_t)row[place].start;
            span[2 * place + 1] = (int32_t)row[place].number;
            memcpy(weight + place * most, row[place].weights, (size_t)row[place].number * sizeof *weight);
        }
        result = PyTuple_Pack(2, spans, table);
    }
done:
    Py_XDECREF(spans);
    Py_XDECREF(table);
    free(tent);
    free(rows);
    free(sums);
    free(row);
    return result;
}
