/* Run a frozen graph through TensorFlow's C API, as a program in another language does.
 *
 *   run_frozen MODEL.pb OUTPUT OUTPUT.raw [INPUT DIMS INPUT.raw]
 *
 * OUTPUT and INPUT are tensor names, "operation" or "operation:index"; DIMS is "2,3", or "-" for a
 * scalar. The raw files hold elements alone, in the machine's byte order; the input's are float32.
 * Prints data type number and shape of the output. The session has default options.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

#define MOST_DIMS 16

static void fail(const char *what, const char *why) {
  fprintf(stderr, "run_frozen: %s: %s\n", what, why);
  exit(1);
}

static void check(const TF_Status *status, const char *doing) {
  if (TF_GetCode(status) != TF_OK) fail(doing, TF_Message(status));
}

static void *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  long end;
  char *data;
  if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < 0)
    fail(path, "cannot be read");
  rewind(file);
  *size = (size_t)end;
  data = malloc(*size + 1);
  if (data == NULL || fread(data, 1, *size, file) != *size) fail(path, "cannot be read");
  fclose(file);
  return data;
}

static TF_Output find(TF_Graph *graph, const char *name) {
  char operation[1024];
  const char *colon = strrchr(name, ':');
  size_t length = colon ? (size_t)(colon - name) : strlen(name);
  TF_Output output;
  if (length >= sizeof operation) fail(name, "the name is too long");
  memcpy(operation, name, length);
  operation[length] = '\0';
  output.oper = TF_GraphOperationByName(graph, operation);
  output.index = colon ? atoi(colon + 1) : 0;
  if (output.oper == NULL) fail(name, "the graph has no such operation");
  if (output.index < 0 || output.index >= TF_OperationNumOutputs(output.oper))
    fail(name, "the operation has no such output");
  return output;
}

static TF_Tensor *read_input(const char *dims_text, const char *path) {
  int64_t dims[MOST_DIMS], elements = 1;
  int rank = 0;
  size_t size;
  char *end = NULL;
  void *data = read_file(path, &size);
  TF_Tensor *tensor;
  for (const char *at = dims_text; strcmp(dims_text, "-") != 0 && rank < MOST_DIMS; at = end + 1) {
    dims[rank] = strtoll(at, &end, 10);
    if (end == at || dims[rank] < 0) fail(dims_text, "this is no shape");
    elements *= dims[rank++];
    if (*end != ',') break;
  }
  if (size != (size_t)elements * sizeof(float)) fail(path, "its size is not that of the shape");
  tensor = TF_AllocateTensor(TF_FLOAT, dims, rank, size);
  memcpy(TF_TensorData(tensor), data, size);
  free(data);
  return tensor;
}

int main(int argc, char **argv) {
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_ImportGraphDefOptions *import_options = TF_NewImportGraphDefOptions();
  TF_SessionOptions *session_options = TF_NewSessionOptions();
  TF_Session *session;
  TF_Output fetch, feed;
  TF_Tensor *input = NULL, *output = NULL;
  TF_Buffer definition = {NULL, 0, NULL};
  size_t size;
  FILE *file;

  if (argc != 4 && argc != 7) fail("usage", "MODEL.pb OUTPUT OUTPUT.raw [INPUT DIMS INPUT.raw]");
  definition.data = read_file(argv[1], &size);
  definition.length = size;
  TF_GraphImportGraphDef(graph, &definition, import_options, status);
  check(status, argv[1]);
  free((void *)definition.data);
  TF_DeleteImportGraphDefOptions(import_options);

  fetch = find(graph, argv[2]);
  if (argc == 7) {
    feed = find(graph, argv[4]);
    input = read_input(argv[5], argv[6]);
  }
  session = TF_NewSession(graph, session_options, status);
  check(status, "new session");
  TF_DeleteSessionOptions(session_options);
  TF_SessionRun(session, NULL, &feed, &input, input != NULL, &fetch, &output, 1, NULL, 0, NULL,
                status);
  check(status, argv[2]);

  file = fopen(argv[3], "wb");
  size = TF_TensorByteSize(output);
  if (file == NULL || fwrite(TF_TensorData(output), 1, size, file) != size || fclose(file) != 0)
    fail(argv[3], "cannot be written");
  printf("dtype %d, shape", (int)TF_TensorType(output));
  for (int i = 0; i < TF_NumDims(output); i++) printf(" %" PRId64, TF_Dim(output, i));
  printf("\n");

  TF_DeleteTensor(output);
  if (input != NULL) TF_DeleteTensor(input);
  TF_CloseSession(session, status);
  check(status, "close session");
  TF_DeleteSession(session, status);
  check(status, "delete session");
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
